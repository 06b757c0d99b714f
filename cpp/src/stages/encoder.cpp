// The encoder stage over graphs: whole segments, and chunks with opaque states; knows no turn.
#include "stages/encoder.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "audio/front_end.h"
#include "stages/contract.h"
#include "stages/graph_check.h"
#include "stages/probe.h"

namespace parley {

namespace {

namespace segment_names = contract::encoder_segment;
namespace chunk_names = contract::encoder_chunk;

constexpr char kWhere[] = "encoder.create";

void check_size(const char* verb, const char* what, std::size_t got, std::size_t expected) {
  if (got == expected) return;
  throw InputError(std::string("[encoder.") + verb + "] expected " + std::to_string(expected) +
                   " values of " + what + ", got " + std::to_string(got) +
                   "; size the buffer by the encoder's own shape");
}

class EncoderState final : public StageState {
 public:
  explicit EncoderState(const std::vector<StateSpec>& specs)
      : tensors(specs, WholeTensors::Runs::one),
        inputs(specs.size() + 1),
        outputs(specs.size() + 1) {}

  void commit() override {
    tensors.commit();
    pending = false;
  }
  void rollback() override {
    tensors.rollback();
    pending = false;
  }
  void reset() override {
    tensors.reset();
    pending = false;
  }
  void save(ByteWriter& to) const override { tensors.save(to); }
  void load(ByteReader& from) override {
    tensors.load(from);
    pending = false;
  }

  WholeTensors tensors;
  bool pending = false;            // a chunk was encoded and neither committed nor rolled back
  std::vector<TensorView> inputs;  // kept so that a chunk allocates nothing
  std::vector<TensorView> outputs;
};

// The segment graph and where its tensors stand.
struct SegmentForm {
  std::shared_ptr<const GraphRunner> graph;
  std::size_t features = 0;  // outputs
  std::size_t encoded = 0;
  Shape features_shape;
  Shape encoded_shape;
  bool any_length = false;  // else whole segments only, as earlier exports have it
};

constexpr int kEncoderHalvings = 1;  // from mel frames to its rows, where it averages none

// The chunk graph and where its tensors stand.
struct ChunkForm {
  std::shared_ptr<const GraphRunner> graph;
  std::size_t log_mel = 0;
  std::size_t features = 0;
  Shape features_shape;
  GraphStates states;
};

SegmentForm bind_segment(std::shared_ptr<const GraphRunner> graph, const EncoderShape& shape) {
  const std::vector<TensorSpec> inputs = {{segment_names::kLogMel,
                                           DType::f32,
                                           {1, static_cast<std::int64_t>(shape.n_mels),
                                            static_cast<std::int64_t>(shape.segment_mel_frames)}}};
  SegmentForm form;
  form.any_length = bind_inputs(*graph, kWhere, segment_names::kGraph, inputs)[0].shape.back() < 0;
  const std::int64_t rows = form.any_length ? -1 : kAnyFixed;
  const std::vector<TensorSpec> outputs = {
      {segment_names::kEncoded, DType::f32, {1, rows, kAnyFixed}},
      {segment_names::kFeatures, DType::f32, {1, rows, kAnyFixed}}};
  const auto bound = bind_outputs(*graph, kWhere, segment_names::kGraph, outputs);
  form.encoded = bound[0].index;
  form.encoded_shape = shape_of(bound[0].shape);
  form.features = bound[1].index;
  form.features_shape = shape_of(bound[1].shape);
  form.graph = std::move(graph);
  return form;
}

std::vector<TensorSpec> with_prefix(const char* prefix, const std::vector<StateSpec>& states) {
  std::vector<TensorSpec> tensors;
  for (const StateSpec& state : states) {
    tensors.push_back({prefix + state.tensor.name, state.tensor.type, state.tensor.shape});
  }
  return tensors;
}

ChunkForm bind_chunk(std::shared_ptr<const GraphRunner> graph, const std::vector<StateSpec>& states,
                     const EncoderShape& shape) {
  std::vector<TensorSpec> inputs = with_prefix(contract::kStateIn, states);
  inputs.push_back({chunk_names::kLogMel,
                    DType::f32,
                    {1, static_cast<std::int64_t>(shape.n_mels),
                     static_cast<std::int64_t>(shape.chunk_mel_frames)}});
  std::vector<TensorSpec> outputs = with_prefix(contract::kStateOut, states);
  outputs.push_back({chunk_names::kFeatures, DType::f32, {1, 1, kAnyFixed}});
  const auto in = bind_inputs(*graph, kWhere, chunk_names::kGraph, inputs);
  const auto out = bind_outputs(*graph, kWhere, chunk_names::kGraph, outputs);
  ChunkForm form;
  form.log_mel = in.back().index;
  form.features = out.back().index;
  form.features_shape = {1, 1, out.back().shape[2]};
  form.states = GraphStates(*graph, contract::kStateIn, contract::kStateOut);
  for (StateSpec& spec : form.states.specs()) {
    for (const StateSpec& state : states)
      if (state.tensor.name == spec.tensor.name) spec.initial = state.initial;
  }
  form.graph = std::move(graph);
  return form;
}

class GraphEncoder final : public Encoder, public EncoderProbe {
 public:
  GraphEncoder(std::shared_ptr<const GraphRunner> segment, std::shared_ptr<const GraphRunner> chunk,
               const std::vector<StateSpec>& states, EncoderShape shape)
      : shape_(shape) {
    if (!segment && !chunk) {
      throw BundleError(std::string("[") + kWhere + "] expected graph " + segment_names::kGraph +
                        " or " + chunk_names::kGraph + ", got neither; export the bundle again");
    }
    if (segment) segment_ = bind_segment(std::move(segment), shape_);
    if (chunk) chunk_ = bind_chunk(std::move(chunk), states, shape_);
    const std::int64_t whole = segment_.graph ? segment_.features_shape[2] : -1;
    const std::int64_t piece = chunk_.graph ? chunk_.features_shape[2] : whole;
    if (segment_.graph && whole != piece) {
      throw BundleError(std::string("[") + kWhere + "] expected both graphs to give features of " +
                        "one width, got " + std::to_string(whole) + " from " +
                        segment_names::kGraph + " and " + std::to_string(piece) + " from " +
                        chunk_names::kGraph + "; export the bundle again");
    }
    width_ = static_cast<std::size_t>(piece);
  }

  std::size_t width() const override { return width_; }
  bool has_short_form() const override { return segment_.any_length; }
  std::size_t segment_features(std::size_t n) const override {
    return static_cast<std::size_t>(features_shape(n).dims[1]);
  }

  void encode_segment(std::span<const float> log_mel, std::span<float> features,
                      const StopFlag& stop) const override {
    const std::size_t n = mel_frames_of(log_mel.size());
    check_size("encode_segment", "features", features.size(),
               static_cast<std::size_t>(features_shape(n).count()));
    run_segment(log_mel, n, nullptr, features.data(), stop);
  }

  std::size_t encoded_width() const override {
    return segment_.graph ? static_cast<std::size_t>(segment_.encoded_shape.dims[2]) : 0;
  }

  Rows encode(std::span<const float> log_mel, const StopFlag& stop) const override {
    const std::size_t n = mel_frames_of(log_mel.size());
    Rows rows;
    rows.encoded.resize(static_cast<std::size_t>(encoded_shape(n).count()));
    rows.features.resize(static_cast<std::size_t>(features_shape(n).count()));
    run_segment(log_mel, n, rows.encoded.data(), rows.features.data(), stop);
    return rows;
  }

  StatePtr create_state() const override {
    require(chunk_.graph, "create_state", chunk_names::kGraph);
    return std::make_unique<EncoderState>(chunk_.states.specs());
  }

  void encode_chunk(StageState& state, std::span<const float> log_mel, std::span<float> feature,
                    const StopFlag& stop) const override {
    require(chunk_.graph, "encode_chunk", chunk_names::kGraph);
    check_size("encode_chunk", "log_mel", log_mel.size(), shape_.n_mels * shape_.chunk_mel_frames);
    check_size("encode_chunk", "feature", feature.size(), width_);
    auto& mine = state_as<EncoderState>(state);
    if (mine.pending) {
      throw Error(
          "[encoder.encode_chunk] expected commit() or rollback() after the last chunk, "
          "got another chunk; end the step first");
    }
    mine.inputs[chunk_.log_mel] = view(log_mel.data(), mel_shape(log_mel.size()));
    mine.outputs[chunk_.features] = view(feature.data(), chunk_.features_shape);
    mine.tensors.bind(chunk_.states, mine.inputs, mine.outputs);
    chunk_.graph->run(mine.inputs, mine.outputs, stop);
    mine.tensors.step();
    mine.pending = true;
  }

 private:
  static void require(const std::shared_ptr<const GraphRunner>& graph, const char* verb,
                      const char* name) {
    if (graph) return;
    throw BundleError(std::string("[encoder.") + verb + "] expected a bundle with graph " + name +
                      ", got one without; export it with that form of the encoder");
  }

  // Of a segment of that many values. Throws where it is none.
  std::size_t mel_frames_of(std::size_t n_values) const {
    require(segment_.graph, "encode_segment", segment_names::kGraph);
    const std::size_t n =
        std::clamp<std::size_t>(n_values / shape_.n_mels, 1, shape_.segment_mel_frames);
    check_size("encode_segment", "log_mel", n_values,
               shape_.n_mels * (segment_.any_length ? n : shape_.segment_mel_frames));
    return n;
  }

  // `encoded` may be null, which fetches none.
  void run_segment(std::span<const float> log_mel, std::size_t n, float* encoded, float* features,
                   const StopFlag& stop) const {
    const std::array<TensorView, 1> inputs = {view(log_mel.data(), mel_shape(log_mel.size()))};
    std::array<TensorView, 2> outputs;
    outputs[segment_.features] = view(features, features_shape(n));
    outputs[segment_.encoded] = view(encoded, encoded_shape(n));
    segment_.graph->run(inputs, outputs, stop);
  }

  Shape mel_shape(std::size_t n_values) const {
    return {1, static_cast<std::int64_t>(shape_.n_mels),
            static_cast<std::int64_t>(n_values / shape_.n_mels)};
  }

  // What the graph gives for n mel frames; one of whole segments gives always the same.
  Shape encoded_shape(std::size_t n) const {
    // Where features are groups of averages, both lie behind the encoder's own rows.
    const int averaging = shape_.feature_group > 1 ? 0 : shape_.pooled_halving;
    return rows_for(segment_.encoded_shape,
                    halved(n, std::max(kEncoderHalvings, averaging), averaging));
  }
  Shape features_shape(std::size_t n) const {
    const std::size_t rows = halved(n, shape_.feature_halvings, shape_.pooled_halving);
    return rows_for(segment_.features_shape, grouped(rows, shape_.feature_group));
  }
  Shape rows_for(Shape shape, std::size_t rows) const {
    if (segment_.any_length) shape.dims[1] = static_cast<std::int64_t>(rows);
    return shape;
  }

  EncoderShape shape_;
  SegmentForm segment_;
  ChunkForm chunk_;
  std::size_t width_ = 0;
};

}  // namespace

std::unique_ptr<Encoder> make_graph_encoder(std::shared_ptr<const GraphRunner> segment,
                                            std::shared_ptr<const GraphRunner> chunk,
                                            const std::vector<StateSpec>& states,
                                            EncoderShape shape) {
  return std::make_unique<GraphEncoder>(std::move(segment), std::move(chunk), states, shape);
}

}  // namespace parley
