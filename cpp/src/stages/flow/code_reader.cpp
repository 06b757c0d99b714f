// From codes to what the field is given of them; knows no reply and no field.
#include "stages/flow/code_reader.h"

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

}  // namespace

CodeReader::CodeReader(std::shared_ptr<const GraphRunner> condition,
                       std::shared_ptr<const GraphRunner> encoder, const FlowConfig& config)
    : condition_(std::move(condition)),
      encoder_(std::move(encoder)),
      frames_per_code_(config.frames_per_code),
      lookahead_(config.lookahead_codes),
      hidden_(config.hidden) {
  if ((condition_ != nullptr) == (encoder_ != nullptr)) {
    throw BundleError(std::string("[") + kWhere + "] expected graph " +
                      contract::flow_condition::kGraph + " or " + contract::flow_encoder::kGraph +
                      ", got " + (encoder_ ? "both" : "none") + "; export the bundle again");
  }
  if (streams()) {
    bind_encoder(config);
  } else {
    bind_condition(config);
  }
}

void CodeReader::bind_condition(const FlowConfig& config) const {
  namespace names = contract::flow_condition;
  const std::vector<TensorSpec> codes = {{names::kCodes, DType::i64, {1, -1}}};
  const std::vector<TensorSpec> features = {
      {names::kTokenFeatures, DType::f32, {1, -1, signed_size(config.hidden)}}};
  bind_inputs(*condition_, kWhere, names::kGraph, codes);
  bind_outputs(*condition_, kWhere, names::kGraph, features);
}

void CodeReader::bind_encoder(const FlowConfig& config) {
  namespace names = contract::flow_encoder;
  if (config.mode == FlowMode::window) {
    throw BundleError(std::string("[") + kWhere + "] expected mode cached or exact of a decoder " +
                      "with graph " + names::kGraph + ", whose past is not computed again, got " +
                      "window; choose another mode");
  }
  states_ = GraphStates(*encoder_, contract::kStateIn, contract::kStateOut);
  std::vector<TensorSpec> in = {{names::kCodes, DType::i64, {1, -1}},
                                {names::kSpeaker, DType::f32, {1, kAnyFixed}}};
  std::vector<TensorSpec> out = {
      {names::kTokenFeatures, DType::f32, {1, -1, signed_size(config.hidden)}}};
  for (const StateSpec& state : states_.specs()) {
    const TensorSpec& tensor = state.tensor;
    in.push_back({contract::kStateIn + tensor.name, tensor.type, tensor.shape});
    out.push_back({contract::kStateOut + tensor.name, tensor.type, tensor.shape});
  }
  const auto inputs = bind_inputs(*encoder_, kWhere, names::kGraph, in);
  codes_index_ = inputs[0].index;
  speaker_index_ = inputs[1].index;
  speaker_width_ = static_cast<std::size_t>(inputs[1].shape[1]);
  features_index_ = bind_outputs(*encoder_, kWhere, names::kGraph, out)[0].index;
}

std::unique_ptr<CodeMemory> CodeReader::create_memory() const {
  if (!streams()) return nullptr;
  return std::make_unique<CodeMemory>(states_, encoder_->inputs().size(),
                                      encoder_->outputs().size());
}

void CodeReader::read(std::span<const std::int64_t> codes, std::span<const float> speaker,
                      CodeMemory* memory, std::span<float> features, const StopFlag& stop) const {
  const TensorView of_codes = view(codes.data(), {1, signed_size(codes.size())});
  const TensorView of_features =
      view(features.data(), {1, signed_size(frames(codes.size())), signed_size(hidden_)});
  if (!streams()) {
    condition_->run(std::array{of_codes}, std::array{of_features}, stop);
    return;
  }
  check_speaker(speaker.size(), speaker_width_);
  memory->inputs[codes_index_] = of_codes;
  memory->inputs[speaker_index_] = view(speaker.data(), {1, signed_size(speaker_width_)});
  memory->outputs[features_index_] = of_features;
  memory->tensors.bind(states_, memory->inputs, memory->outputs);
  encoder_->run(memory->inputs, memory->outputs, stop);
  memory->tensors.step();
}

void check_speaker(std::size_t got, std::size_t expected) {
  if (got == expected) return;
  throw BundleError("[flow_decoder.voice] expected a speaker embedding of " +
                    std::to_string(expected) + " values, got " + std::to_string(got) +
                    "; use a voice made for this bundle");
}

}  // namespace parley
