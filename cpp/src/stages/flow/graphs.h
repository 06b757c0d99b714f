// The flow decoder's graphs and the buffers of one solve; knows no reply and no stream.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/stop.h"
#include "runners/runner.h"
#include "stages/flow/code_reader.h"
#include "stages/flow/config.h"
#include "stages/probe.h"

namespace parley {

// Sizes that the field's graph decides.
struct FieldSizes {
  std::size_t layers = 0;
  std::size_t heads = 0;
  std::size_t head_width = 0;
  std::size_t carried = 0;        // latent frames that convolutions need of those before
  std::size_t carried_width = 0;  // of what they need
  bool only_carried = false;      // `rows` holds those alone, else those of all frames
  DType cache = DType::f32;       // of keys and values

  // Of one row of keys or of values.
  std::size_t row_bytes() const { return heads * head_width * size_of(cache); }
  // Rows of `rows` in a run over so many frames.
  std::size_t rows_of(std::size_t frames) const { return only_carried ? carried : frames; }
};

// What one evaluation recalls, and where it leaves what later ones will recall; views, one per
// layer where there are several. Outputs without data are not fetched.
struct FieldMemory {
  explicit FieldMemory(const FieldSizes& sizes);

  TensorView positions;                   // i64 [T], as the past's keys were rotated
  TensorView prompt_positions;            // i64 [T], as the prompt's were
  TensorView mask;                        // [R + T], added to the scores
  TensorView carried;                     // [B, carried, carried_width]
  std::vector<TensorView> prompt_keys;    // [B, heads, P, head_width], rotated
  std::vector<TensorView> prompt_values;  // [B, heads, head_width, P]
  std::vector<TensorView> past_keys;      // [B, heads, R, head_width], rotated
  std::vector<TensorView> past_values;    // [B, heads, R, head_width]

  TensorView rows;                 // [B, rows_of(T), carried_width]
  std::vector<TensorView> keys;    // [B, heads, T, head_width], rotated
  std::vector<TensorView> values;  // [B, heads, T, head_width]
};

// What a solve recalls; each evaluation has its own.
class FlowMemory {
 public:
  virtual ~FlowMemory() = default;
  // Valid until keep(). T `frames` are evaluated.
  virtual const FieldMemory& recall(std::size_t evaluation, std::size_t frames) = 0;
  // After the evaluation: its outputs are there.
  virtual void keep(std::size_t evaluation) = 0;
};

// Buffers of one solve of up to `max_codes` codes, T = codes * frames_per_code frames. Owned by a
// state, so that a warm push allocates nothing.
struct FlowWorkspace {
  // `only_seen`: codes more, which get no frames.
  FlowWorkspace(const FlowConfig& config, const FieldSizes& sizes, std::size_t max_codes,
                std::size_t only_seen);

  std::vector<std::int64_t> codes;  // [N]
  std::vector<float> features;      // [T, hidden]
  std::vector<float> inputs;        // [2, T, hidden + 2 * z]; the conditional branch first
  std::vector<float> velocity;      // [2, T, z]
  std::vector<float> x;             // [T, z]; noise before solve(), normalised latents after
  std::vector<float> middle;        // [T, z]
  std::vector<TensorView> field_inputs;
  std::vector<TensorView> field_outputs;
};

struct FlowGraphs {
  std::shared_ptr<const GraphRunner> condition;
  std::shared_ptr<const GraphRunner> modulation;
  std::shared_ptr<const GraphRunner> field;
  std::shared_ptr<const GraphRunner> encoder;  // in the place of `condition`
};

class FlowGraphRuns {
 public:
  // Throws BundleError where a graph is missing or not as the contract says.
  FlowGraphRuns(FlowGraphs graphs, const FlowConfig& config);

  const FieldSizes& sizes() const { return sizes_; }
  const std::vector<FlowEvaluation>& plan() const { return plan_; }
  const CodeReader& codes() const { return codes_; }

  // What depends on time and speaker only: `[times, M]`, without times of every evaluation.
  std::vector<float> modulations(std::span<const float> speaker, const StopFlag& stop) const;
  std::vector<float> modulations(std::span<const float> speaker, std::span<const float> times,
                                 const StopFlag& stop) const;

  // Fills the inputs of `n_frames` frames but for x. `workspace.codes` holds n_codes codes, whose
  // last frames these are, said by `voice`; `condition` [rows, z] are the condition latents of the
  // first of them, zeros follow. `memory`: of the reader of codes, where it has one.
  struct Codes {
    std::size_t n_codes = 0;
    const Voice& voice;
    CodeMemory* memory = nullptr;
  };
  void fill_inputs(FlowWorkspace& workspace, const Codes& codes, std::size_t n_frames,
                   std::span<const float> condition, const StopFlag& stop) const;

  // From t = 0 to t = 1 over `n_frames` frames, whose noise lies in `workspace.x`. Polls `stop`
  // between evaluations.
  void solve(FlowWorkspace& workspace, std::size_t n_frames, std::span<const float> modulations,
             FlowMemory& memory, FlowTrajectory* trajectory, const StopFlag& stop) const;

  // One evaluation: `workspace.inputs` to `workspace.velocity`.
  void run_field(FlowWorkspace& workspace, std::size_t branches, std::size_t n_frames,
                 std::span<const float> modulation, const FieldMemory& memory,
                 const StopFlag& stop) const;

 private:
  void bind_modulation();
  void bind_field();
  void evaluate(FlowWorkspace& workspace, std::size_t n_frames, std::size_t evaluation,
                std::span<const float> modulation, FlowMemory& memory, const StopFlag& stop) const;

  FlowGraphs graphs_;
  FlowConfig config_;
  CodeReader codes_;
  std::vector<FlowEvaluation> plan_;
  FieldSizes sizes_;
  std::size_t speaker_width_ = 0;
  std::size_t modulation_width_ = 0;
  // Where tensors stand among their graph's; per layer in the order of FieldMemory.
  std::size_t speaker_index_ = 0;
  std::size_t t_index_ = 0;
  std::vector<std::size_t> field_inputs_;
  std::vector<std::size_t> field_outputs_;
};

}  // namespace parley
