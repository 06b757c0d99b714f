// From codes to what the field is given of them: a graph without memory, or one that streams.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/stop.h"
#include "runners/graph_state.h"
#include "runners/runner.h"
#include "stages/flow/config.h"

namespace parley {

// What a stream of codes left behind, and the tensors of a run, kept so that one allocates nothing.
struct CodeMemory {
  CodeMemory(const GraphStates& states, std::size_t n_inputs, std::size_t n_outputs)
      : tensors(states.specs(), WholeTensors::Runs::many), inputs(n_inputs), outputs(n_outputs) {}

  WholeTensors tensors;
  std::vector<TensorView> inputs;
  std::vector<TensorView> outputs;
};

// Two kinds. `flow_condition` remembers nothing: a code's features depend on the one before it, and
// codes that are seen ahead get frames too. `flow_encoder` streams: it remembers all it needs, and
// gives the codes that it only sees ahead no frames.
class CodeReader {
 public:
  // One of both. Throws BundleError where that is not so, or a graph is not as the contract says.
  CodeReader(std::shared_ptr<const GraphRunner> condition,
             std::shared_ptr<const GraphRunner> encoder, const FlowConfig& config);

  bool streams() const { return encoder_ != nullptr; }
  // Codes that have to come in front of those to be decoded, and behind them, for which kUnknown
  // stands where there are none.
  std::size_t before() const { return streams() ? 0 : 1; }
  std::size_t only_seen() const { return streams() ? lookahead_ : 0; }
  // Frames that a run over n codes gives.
  std::size_t frames(std::size_t n) const { return (n - only_seen()) * frames_per_code_; }
  static constexpr std::int64_t kUnknown = -1;

  std::unique_ptr<CodeMemory> create_memory() const;  // null where nothing streams
  // `codes` [n] -> `features` [frames(n), hidden]. `memory` is then that behind these codes.
  void read(std::span<const std::int64_t> codes, std::span<const float> speaker, CodeMemory* memory,
            std::span<float> features, const StopFlag& stop) const;

 private:
  void bind_condition(const FlowConfig& config) const;
  void bind_encoder(const FlowConfig& config);

  std::shared_ptr<const GraphRunner> condition_;
  std::shared_ptr<const GraphRunner> encoder_;
  std::size_t frames_per_code_;
  std::size_t lookahead_;
  std::size_t hidden_;
  GraphStates states_;
  std::size_t speaker_width_ = 0;
  // Where tensors stand among their graph's.
  std::size_t codes_index_ = 0;
  std::size_t speaker_index_ = 0;
  std::size_t features_index_ = 0;
};

// Throws BundleError for a speaker embedding of another width than the graph takes.
void check_speaker(std::size_t got, std::size_t expected);

}  // namespace parley
