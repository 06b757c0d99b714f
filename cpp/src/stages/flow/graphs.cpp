// The flow decoder's graphs and the solver over them; knows no reply and no stream.
#include "stages/flow/graphs.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "stages/contract.h"
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

std::string of_layer(const char* name, std::size_t layer) {
  return name + std::to_string(layer);
}

// As far as the first layer's keys tell them.
FieldSizes sizes_of(const GraphRunner& field) {
  FieldSizes sizes;
  for (const TensorSpec& spec : field.inputs()) {
    if (spec.name == of_layer(contract::flow_field::kPromptKeys, sizes.layers)) ++sizes.layers;
    if (spec.name == contract::flow_field::kCarried && spec.shape.size() == 3 &&
        spec.shape[1] > 0 && spec.shape[2] > 0) {
      sizes.carried = static_cast<std::size_t>(spec.shape[1]);
      sizes.carried_width = static_cast<std::size_t>(spec.shape[2]);
    }
    if (spec.name != of_layer(contract::flow_field::kPromptKeys, 0)) continue;
    sizes.cache = spec.type;
    if (spec.shape.size() == 4) {
      sizes.heads = static_cast<std::size_t>(std::max<std::int64_t>(spec.shape[1], 0));
      sizes.head_width = static_cast<std::size_t>(std::max<std::int64_t>(spec.shape[3], 0));
    }
  }
  for (const TensorSpec& spec : field.outputs())
    if (spec.name == contract::flow_field::kRows && spec.shape.size() == 3)
      sizes.only_carried = spec.shape[1] > 0;
  return sizes;
}

std::vector<std::size_t> indices_of(const std::vector<BoundTensor>& bound) {
  std::vector<std::size_t> indices;
  for (const BoundTensor& tensor : bound) indices.push_back(tensor.index);
  return indices;
}

}  // namespace

FieldMemory::FieldMemory(const FieldSizes& sizes)
    : prompt_keys(sizes.layers),
      prompt_values(sizes.layers),
      past_keys(sizes.layers),
      past_values(sizes.layers),
      keys(sizes.layers),
      values(sizes.layers) {}

FlowWorkspace::FlowWorkspace(const FlowConfig& config, const FieldSizes& sizes,
                             std::size_t max_codes, std::size_t only_seen)
    : field_inputs(6 + 4 * sizes.layers), field_outputs(2 + 2 * sizes.layers) {
  const std::size_t frames = max_codes * config.frames_per_code;
  codes.resize(max_codes + only_seen);
  features.resize(frames * config.hidden);
  inputs.resize(2 * frames * (config.hidden + 2 * config.z));
  velocity.resize(2 * frames * config.z);
  x.resize(frames * config.z);
  middle.resize(frames * config.z);
}

FlowGraphRuns::FlowGraphRuns(FlowGraphs graphs, const FlowConfig& config)
    : graphs_(std::move(graphs)),
      config_(config),
      codes_(graphs_.condition, graphs_.encoder, config),
      plan_(evaluation_plan(config.steps)) {
  bind_modulation();
  bind_field();
}

void FlowGraphRuns::bind_modulation() {
  namespace modulation = contract::flow_modulation;
  require_graph(graphs_.modulation, modulation::kGraph);
  const std::vector<TensorSpec> times = {{modulation::kT, DType::f32, {-1}},
                                         {modulation::kSpeaker, DType::f32, {1, kAnyFixed}}};
  const std::vector<TensorSpec> rows = {{modulation::kModulation, DType::f32, {-1, kAnyFixed}}};
  const auto of_time = bind_inputs(*graphs_.modulation, kWhere, modulation::kGraph, times);
  const auto of_rows = bind_outputs(*graphs_.modulation, kWhere, modulation::kGraph, rows);
  t_index_ = of_time[0].index;
  speaker_index_ = of_time[1].index;
  speaker_width_ = static_cast<std::size_t>(of_time[1].shape[1]);
  modulation_width_ = static_cast<std::size_t>(of_rows[0].shape[1]);
}

void FlowGraphRuns::bind_field() {
  namespace field = contract::flow_field;
  require_graph(graphs_.field, field::kGraph);
  sizes_ = sizes_of(*graphs_.field);
  const std::int64_t hidden = signed_size(config_.hidden);
  const std::int64_t z = signed_size(config_.z);
  const std::int64_t heads = signed_size(sizes_.heads);
  const std::int64_t width = signed_size(sizes_.head_width);
  std::vector<TensorSpec> in = {
      {field::kInputs, DType::f32, {-1, -1, hidden + 2 * z}},
      {field::kModulation, DType::f32, {1, signed_size(modulation_width_)}},
      {field::kPositions, DType::i64, {-1}},
      {field::kPromptPositions, DType::i64, {-1}},
      {field::kMask, DType::f32, {-1}},
      {field::kCarried, DType::f32, {-1, kAnyFixed, kAnyFixed}}};
  const std::int64_t rows = sizes_.only_carried ? signed_size(sizes_.carried) : -1;
  std::vector<TensorSpec> out = {
      {field::kVelocity, DType::f32, {-1, -1, z}},
      {field::kRows, DType::f32, {-1, rows, signed_size(sizes_.carried_width)}}};
  const std::vector<std::int64_t> by_head = {-1, heads, -1, width};
  for (std::size_t i = 0; i < std::max<std::size_t>(sizes_.layers, 1); ++i) {
    const auto add = [&](std::vector<TensorSpec>& to, const char* name,
                         const std::vector<std::int64_t>& shape) {
      to.push_back({of_layer(name, i), sizes_.cache, shape});
    };
    add(in, field::kPromptKeys, by_head);
    add(in, field::kPromptValues, {-1, heads, width, -1});
    add(in, field::kPastKeys, by_head);
    add(in, field::kPastValues, by_head);
    add(out, field::kKeys, by_head);
    add(out, field::kValues, by_head);
  }
  field_inputs_ = indices_of(bind_inputs(*graphs_.field, kWhere, field::kGraph, in));
  field_outputs_ = indices_of(bind_outputs(*graphs_.field, kWhere, field::kGraph, out));
  if (sizes_.only_carried && sizes_.carried > config_.frames_per_code) {
    throw BundleError(std::string("[") + kWhere + "] expected " + field::kGraph +
                      " to carry at most the " + std::to_string(config_.frames_per_code) +
                      " frames of a code, got " + std::to_string(sizes_.carried) +
                      "; export the bundle again");
  }
}

std::vector<float> FlowGraphRuns::modulations(std::span<const float> speaker,
                                              const StopFlag& stop) const {
  std::vector<float> times;
  for (const FlowEvaluation& evaluation : plan_) times.push_back(evaluation.t);
  return modulations(speaker, times, stop);
}

std::vector<float> FlowGraphRuns::modulations(std::span<const float> speaker,
                                              std::span<const float> times,
                                              const StopFlag& stop) const {
  check_speaker(speaker.size(), speaker_width_);
  std::vector<float> rows(times.size() * modulation_width_);
  std::array<TensorView, 2> inputs;
  inputs[t_index_] = view(times.data(), {signed_size(times.size())});
  inputs[speaker_index_] = view(speaker.data(), {1, signed_size(speaker_width_)});
  const std::array<TensorView, 1> outputs = {
      view(rows.data(), {signed_size(times.size()), signed_size(modulation_width_)})};
  graphs_.modulation->run(inputs, outputs, stop);
  return rows;
}

// Rows of the field's input are [token features | condition latents | x_t]; the unconditional
// branch goes without token features, and without the condition where the config says so. The x_t
// part changes with every evaluation.
void FlowGraphRuns::fill_inputs(FlowWorkspace& workspace, const Codes& codes, std::size_t n_frames,
                                std::span<const float> condition, const StopFlag& stop) const {
  const std::size_t all = codes_.frames(codes.n_codes);
  codes_.read(std::span(workspace.codes).first(codes.n_codes), codes.voice.speaker, codes.memory,
              workspace.features, stop);

  const std::size_t z = config_.z;
  const std::size_t row_width = config_.hidden + 2 * z;
  const std::size_t n_condition = condition.size() / z;
  const float* feature = workspace.features.data() + (all - n_frames) * config_.hidden;
  for (std::size_t t = 0; t < n_frames; ++t, feature += config_.hidden) {
    float* guided_row = workspace.inputs.data() + t * row_width;
    float* free_row = guided_row + n_frames * row_width;
    std::copy_n(feature, config_.hidden, guided_row);
    std::fill_n(free_row, config_.hidden, 0.0F);
    const auto fill = [&](float* row, bool given) {
      if (given && t < n_condition) {
        std::copy_n(condition.data() + t * z, z, row);
      } else {
        std::fill_n(row, z, 0.0F);
      }
    };
    fill(guided_row + config_.hidden, true);
    fill(free_row + config_.hidden, config_.free_condition);
  }
}

void FlowGraphRuns::evaluate(FlowWorkspace& workspace, std::size_t n_frames, std::size_t evaluation,
                             std::span<const float> modulation, FlowMemory& memory,
                             const StopFlag& stop) const {
  stop.check();
  const FlowEvaluation& what = plan_[evaluation];
  const std::vector<float>& x = what.at_middle ? workspace.middle : workspace.x;
  const std::size_t z = config_.z;
  const std::size_t row_width = config_.hidden + 2 * z;
  for (std::size_t row = 0; row < what.branches() * n_frames; ++row) {
    std::copy_n(x.data() + row % n_frames * z, z,
                workspace.inputs.data() + (row + 1) * row_width - z);
  }
  run_field(workspace, what.branches(), n_frames, modulation, memory.recall(evaluation, n_frames),
            stop);
  memory.keep(evaluation);
}

void FlowGraphRuns::run_field(FlowWorkspace& workspace, std::size_t n_branches,
                              std::size_t n_frames, std::span<const float> modulation,
                              const FieldMemory& recalled, const StopFlag& stop) const {
  const std::int64_t branches = signed_size(n_branches);
  const std::int64_t frames = signed_size(n_frames);
  const std::int64_t row_width = signed_size(config_.hidden + 2 * config_.z);
  std::vector<TensorView>& in = workspace.field_inputs;
  std::vector<TensorView>& out = workspace.field_outputs;
  std::size_t n_in = 0;
  std::size_t n_out = 0;
  const auto give = [&](const TensorView& tensor) { in[field_inputs_[n_in++]] = tensor; };
  const auto take = [&](const TensorView& tensor) { out[field_outputs_[n_out++]] = tensor; };
  give(view(workspace.inputs.data(), {branches, frames, row_width}));
  give(view(modulation.data(), {1, signed_size(modulation_width_)}));
  give(recalled.positions);
  give(recalled.prompt_positions);
  give(recalled.mask);
  give(recalled.carried);
  take(view(workspace.velocity.data(), {branches, frames, signed_size(config_.z)}));
  take(recalled.rows);
  for (std::size_t i = 0; i < sizes_.layers; ++i) {
    give(recalled.prompt_keys[i]);
    give(recalled.prompt_values[i]);
    give(recalled.past_keys[i]);
    give(recalled.past_values[i]);
    take(recalled.keys[i]);
    take(recalled.values[i]);
  }
  graphs_.field->run(in, out, stop);
}

void FlowGraphRuns::solve(FlowWorkspace& workspace, std::size_t n_frames,
                          std::span<const float> modulations, FlowMemory& memory,
                          FlowTrajectory* trajectory, const StopFlag& stop) const {
  const std::size_t n = n_frames * config_.z;
  const std::span<const float> x = std::span(workspace.x).first(n);
  bool first = true;
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    const FlowEvaluation& evaluation = plan_[i];
    const auto row = modulations.subspan(i * modulation_width_, modulation_width_);
    evaluate(workspace, n_frames, i, row, memory, stop);
    const auto velocity = std::span(workspace.velocity).first(evaluation.branches() * n);
    std::vector<float>& out = evaluation.to_middle ? workspace.middle : workspace.x;
    advance(x, velocity, config_.steps.guidance, evaluation.length, std::span(out).first(n));
    if (trajectory != nullptr && first && !evaluation.to_middle) {
      trajectory->first_step.assign(x.begin(), x.end());
      first = false;
    }
  }
  if (trajectory != nullptr) trajectory->final_step.assign(x.begin(), x.end());
}

}  // namespace parley
