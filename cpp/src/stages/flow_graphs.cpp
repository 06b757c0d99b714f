// The flow decoder's three graphs and the midpoint solver over them; knows no reply and no stream.
#include "stages/flow_graphs.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "stages/contract.h"
#include "stages/flow_solver.h"
#include "stages/graph_check.h"

namespace parley {

namespace {

constexpr char kWhere[] = "flow_decoder.create";

std::int64_t signed_size(std::size_t n) {
  return static_cast<std::int64_t>(n);
}

void require_graph(const std::shared_ptr<const GraphRunner>& graph, const char* name) {
  if (graph) return;
  throw BundleError(std::string("[") + kWhere + "] expected graph " + name +
                    ", got none; export the bundle again");
}

}  // namespace

FlowWorkspace::FlowWorkspace(const FlowConfig& config, std::size_t max_codes) {
  const std::size_t frames = max_codes * config.frames_per_code;
  codes.resize(max_codes);
  features.resize(frames * config.hidden);
  inputs.resize(2 * frames * (config.hidden + 2 * config.z));
  velocity.resize(2 * frames * config.z);
  x.resize(frames * config.z);
  middle.resize(frames * config.z);
}

FlowGraphRuns::FlowGraphRuns(FlowGraphs graphs, const FlowConfig& config)
    : graphs_(std::move(graphs)), config_(config), times_(evaluation_times(config.points)) {
  namespace condition = contract::flow_condition;
  namespace modulation = contract::flow_modulation;
  namespace field = contract::flow_field;
  require_graph(graphs_.condition, condition::kGraph);
  require_graph(graphs_.modulation, modulation::kGraph);
  require_graph(graphs_.field, field::kGraph);
  const std::int64_t hidden = signed_size(config_.hidden);
  const std::int64_t z = signed_size(config_.z);

  const std::vector<TensorSpec> codes = {{condition::kCodes, DType::i64, {1, -1}}};
  const std::vector<TensorSpec> features = {
      {condition::kTokenFeatures, DType::f32, {1, -1, hidden}}};
  bind_inputs(*graphs_.condition, kWhere, condition::kGraph, codes);
  bind_outputs(*graphs_.condition, kWhere, condition::kGraph, features);

  const std::vector<TensorSpec> times = {{modulation::kT, DType::f32, {-1}},
                                         {modulation::kSpeaker, DType::f32, {1, kAnyFixed}}};
  const std::vector<TensorSpec> rows = {{modulation::kModulation, DType::f32, {-1, kAnyFixed}}};
  const auto of_time = bind_inputs(*graphs_.modulation, kWhere, modulation::kGraph, times);
  const auto of_rows = bind_outputs(*graphs_.modulation, kWhere, modulation::kGraph, rows);
  t_index_ = of_time[0].index;
  speaker_index_ = of_time[1].index;
  speaker_width_ = static_cast<std::size_t>(of_time[1].shape[1]);
  modulation_width_ = static_cast<std::size_t>(of_rows[0].shape[1]);

  const std::vector<TensorSpec> inputs = {
      {field::kInputs, DType::f32, {-1, -1, hidden + 2 * z}},
      {field::kModulation, DType::f32, {1, signed_size(modulation_width_)}}};
  const std::vector<TensorSpec> velocity = {{field::kVelocity, DType::f32, {-1, -1, z}}};
  const auto of_field = bind_inputs(*graphs_.field, kWhere, field::kGraph, inputs);
  bind_outputs(*graphs_.field, kWhere, field::kGraph, velocity);
  inputs_index_ = of_field[0].index;
  modulation_index_ = of_field[1].index;
}

std::vector<float> FlowGraphRuns::modulations(std::span<const float> speaker,
                                              const StopFlag& stop) const {
  if (speaker.size() != speaker_width_) {
    throw BundleError("[flow_decoder.voice] expected a speaker embedding of " +
                      std::to_string(speaker_width_) + " values, got " +
                      std::to_string(speaker.size()) + "; use a voice made for this bundle");
  }
  std::vector<float> rows(times_.size() * modulation_width_);
  std::array<TensorView, 2> inputs;
  inputs[t_index_] = view(times_.data(), {signed_size(times_.size())});
  inputs[speaker_index_] = view(speaker.data(), {1, signed_size(speaker_width_)});
  const std::array<TensorView, 1> outputs = {
      view(rows.data(), {signed_size(times_.size()), signed_size(modulation_width_)})};
  graphs_.modulation->run(inputs, outputs, stop);
  return rows;
}

// Rows of the field's input are [token features | condition latents | x_t]; batch row 0 goes
// without token features, batch row 1 with them. The x_t part changes with every evaluation.
void FlowGraphRuns::fill_inputs(FlowWorkspace& workspace, std::size_t n_codes,
                                std::span<const float> condition, const StopFlag& stop) const {
  const std::size_t frames = n_codes * config_.frames_per_code;
  const std::array<TensorView, 1> codes = {view(workspace.codes.data(), {1, signed_size(n_codes)})};
  const std::array<TensorView, 1> features = {
      view(workspace.features.data(), {1, signed_size(frames), signed_size(config_.hidden)})};
  graphs_.condition->run(codes, features, stop);

  const std::size_t z = config_.z;
  const std::size_t row_width = config_.hidden + 2 * z;
  const std::size_t n_condition = condition.size() / z;
  for (std::size_t t = 0; t < frames; ++t) {
    float* free_row = workspace.inputs.data() + t * row_width;
    float* guided_row = free_row + frames * row_width;
    std::fill_n(free_row, config_.hidden, 0.0F);
    std::copy_n(workspace.features.data() + t * config_.hidden, config_.hidden, guided_row);
    for (float* row : {free_row + config_.hidden, guided_row + config_.hidden}) {
      if (t < n_condition) {
        std::copy_n(condition.data() + t * z, z, row);
      } else {
        std::fill_n(row, z, 0.0F);
      }
    }
  }
}

void FlowGraphRuns::evaluate(FlowWorkspace& workspace, std::size_t n_frames,
                             std::span<const float> x, std::span<const float> modulation,
                             const StopFlag& stop) const {
  stop.check();
  const std::size_t z = config_.z;
  const std::size_t row_width = config_.hidden + 2 * z;
  for (std::size_t row = 0; row < 2 * n_frames; ++row) {
    std::copy_n(x.data() + row % n_frames * z, z,
                workspace.inputs.data() + (row + 1) * row_width - z);
  }
  std::array<TensorView, 2> inputs;
  inputs[inputs_index_] =
      view(workspace.inputs.data(), {2, signed_size(n_frames), signed_size(row_width)});
  inputs[modulation_index_] = view(modulation.data(), {1, signed_size(modulation_width_)});
  const std::array<TensorView, 1> outputs = {
      view(workspace.velocity.data(), {2, signed_size(n_frames), signed_size(z)})};
  graphs_.field->run(inputs, outputs, stop);
}

void FlowGraphRuns::solve(FlowWorkspace& workspace, std::size_t n_codes,
                          std::span<const float> condition, std::span<const float> modulations,
                          FlowDecoder::Trajectory* trajectory, const StopFlag& stop) const {
  fill_inputs(workspace, n_codes, condition, stop);
  const std::size_t frames = n_codes * config_.frames_per_code;
  const std::size_t n = frames * config_.z;
  const std::span<float> x = std::span(workspace.x).first(n);
  const std::span<float> middle = std::span(workspace.middle).first(n);
  const std::span<const float> unconditional = std::span(workspace.velocity).first(n);
  const std::span<const float> conditional = std::span(workspace.velocity).subspan(n, n);
  const auto row = [&](std::size_t i) {
    return modulations.subspan(i * modulation_width_, modulation_width_);
  };
  for (int i = 0; i + 1 < config_.points; ++i) {
    const float step = step_length(config_.points, i);
    const auto first = static_cast<std::size_t>(2 * i);
    evaluate(workspace, frames, x, row(first), stop);
    advance(x, unconditional, conditional, config_.guidance, step / 2, middle);
    evaluate(workspace, frames, middle, row(first + 1), stop);
    advance(x, unconditional, conditional, config_.guidance, step, x);
    if (trajectory != nullptr && i == 0) trajectory->first_step.assign(x.begin(), x.end());
  }
  if (trajectory != nullptr) trajectory->final_step.assign(x.begin(), x.end());
}

}  // namespace parley
