// The flow decoder's three graphs and the buffers of one solve; knows no reply and no stream.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/stop.h"
#include "stages/flow_decoder.h"

namespace parley {

// Buffers of one solve of up to `max_codes` codes, T = codes * frames_per_code frames. Owned by a
// state, so that a warm push allocates nothing.
struct FlowWorkspace {
  FlowWorkspace(const FlowConfig& config, std::size_t max_codes);

  std::vector<std::int64_t> codes;  // [N]
  std::vector<float> features;      // [T, hidden]
  std::vector<float> inputs;        // [2, T, hidden + 2 * z]
  std::vector<float> velocity;      // [2, T, z]
  std::vector<float> x;             // [T, z]; noise before solve(), normalised latents after
  std::vector<float> middle;        // [T, z]
};

class FlowGraphRuns {
 public:
  // Throws BundleError where a graph is missing or not as the contract says.
  FlowGraphRuns(FlowGraphs graphs, const FlowConfig& config);

  // What depends on time and speaker only, for every evaluation: `[2 * (points - 1), M]`.
  std::vector<float> modulations(std::span<const float> speaker, const StopFlag& stop) const;

  // From t = 0 to t = 1. `workspace.codes` holds the first n_codes codes and `workspace.x` the
  // noise; `condition` [rows, z] are the condition latents of the first frames, zeros follow.
  // Polls `stop` between evaluations.
  void solve(FlowWorkspace& workspace, std::size_t n_codes, std::span<const float> condition,
             std::span<const float> modulations, FlowDecoder::Trajectory* trajectory,
             const StopFlag& stop) const;

 private:
  void fill_inputs(FlowWorkspace& workspace, std::size_t n_codes, std::span<const float> condition,
                   const StopFlag& stop) const;
  void evaluate(FlowWorkspace& workspace, std::size_t n_frames, std::span<const float> x,
                std::span<const float> modulation, const StopFlag& stop) const;

  FlowGraphs graphs_;
  FlowConfig config_;
  std::vector<float> times_;
  std::size_t speaker_width_ = 0;
  std::size_t modulation_width_ = 0;
  // Where tensors stand among their graph's inputs.
  std::size_t speaker_index_ = 0;
  std::size_t t_index_ = 0;
  std::size_t inputs_index_ = 0;
  std::size_t modulation_index_ = 0;
};

}  // namespace parley
