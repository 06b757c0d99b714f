// The encoder stage over graphs: whole segments, and chunks with opaque states; knows no turn.
#include "stages/encoder.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "stages/contract.h"
#include "stages/graph_check.h"

namespace parley {

namespace {

namespace segment_names = contract::encoder_segment;
namespace chunk_names = contract::encoder_chunk;

constexpr char kWhere[] = "encoder.create";

Shape shape_of(const std::vector<std::int64_t>& dims) {
  Shape shape;
  for (std::int64_t d : dims) shape.dims[static_cast<std::size_t>(shape.rank++)] = d;
  return shape;
}

void check_size(const char* verb, const char* what, std::size_t got, std::size_t expected) {
  if (got == expected) return;
  throw InputError(std::string("[encoder.") + verb + "] expected " + std::to_string(expected) +
                   " values of " + what + ", got " + std::to_string(got) +
                   "; size the buffer by the encoder's own shape");
}

// All states of one moment, in one allocation each.
using StateValues = std::vector<std::vector<std::byte>>;

class EncoderState final : public StageState {
 public:
  explicit EncoderState(const std::vector<StateSpec>& specs) : specs_(specs) {
    for (StateValues& values : values_) {
      for (const StateSpec& spec : specs) {
        values.emplace_back(static_cast<std::size_t>(shape_of(spec.tensor.shape).count()) *
                            size_of(spec.tensor.type));
      }
    }
    inputs.resize(specs.size() + 1);
    outputs.resize(specs.size() + 1);
    EncoderState::reset();
  }

  void commit() override {
    if (pending) committed_ = 1 - committed_;
    pending = false;
  }
  void rollback() override { pending = false; }
  void reset() override {
    pending = false;
    for (std::size_t i = 0; i < specs_.size(); ++i) fill(values_[committed_][i], specs_[i]);
  }

  TensorView committed(std::size_t i) { return view_of(values_[committed_][i], i); }
  TensorView next(std::size_t i) { return view_of(values_[1 - committed_][i], i); }

  bool pending = false;            // a chunk was encoded and neither committed nor rolled back
  std::vector<TensorView> inputs;  // kept so that a chunk allocates nothing
  std::vector<TensorView> outputs;

 private:
  TensorView view_of(std::vector<std::byte>& value, std::size_t i) const {
    return {value.data(), specs_[i].tensor.type, shape_of(specs_[i].tensor.shape)};
  }

  static void fill(std::vector<std::byte>& value, const StateSpec& spec) {
    if (spec.tensor.type == DType::f32) {
      std::fill_n(reinterpret_cast<float*>(value.data()), value.size() / sizeof(float),
                  static_cast<float>(spec.initial));
    } else {
      std::fill_n(reinterpret_cast<std::int64_t*>(value.data()),
                  value.size() / sizeof(std::int64_t), static_cast<std::int64_t>(spec.initial));
    }
  }

  const std::vector<StateSpec> specs_;
  std::array<StateValues, 2> values_;
  std::size_t committed_ = 0;
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

constexpr int kEncoderHalvings = 1;  // from mel frames to the rows before the adapter

// A convolution of stride 2 is padded so that it rounds up.
std::int64_t halved(std::size_t n, int times) {
  for (; times > 0; --times) n = (n + 1) / 2;
  return static_cast<std::int64_t>(n);
}

// The chunk graph and where its tensors stand; states follow the manifest's order.
struct ChunkForm {
  std::shared_ptr<const GraphRunner> graph;
  std::size_t log_mel = 0;
  std::size_t features = 0;
  std::vector<std::size_t> state_in;
  std::vector<std::size_t> state_out;
  Shape features_shape;
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
  for (const StateSpec& state : states) {
    const auto& dims = state.tensor.shape;
    const bool fixed = std::all_of(dims.begin(), dims.end(), [](std::int64_t d) { return d > 0; });
    if (!fixed || dims.size() > Shape::kMaxRank) {
      throw BundleError(std::string("[") + kWhere + "] expected a fixed shape of at most " +
                        std::to_string(Shape::kMaxRank) + " dimensions for state " +
                        state.tensor.name + ", got " + describe(state.tensor) +
                        "; export the bundle again");
    }
  }
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
  for (std::size_t i = 0; i < states.size(); ++i) {
    form.state_in.push_back(in[i].index);
    form.state_out.push_back(out[i].index);
  }
  form.graph = std::move(graph);
  return form;
}

class GraphEncoder final : public Encoder {
 public:
  GraphEncoder(std::shared_ptr<const GraphRunner> segment, std::shared_ptr<const GraphRunner> chunk,
               std::vector<StateSpec> states, EncoderShape shape)
      : shape_(shape), states_(std::move(states)) {
    if (!segment && !chunk) {
      throw BundleError(std::string("[") + kWhere + "] expected graph " + segment_names::kGraph +
                        " or " + chunk_names::kGraph + ", got neither; export the bundle again");
    }
    if (segment) segment_ = bind_segment(std::move(segment), shape_);
    if (chunk) chunk_ = bind_chunk(std::move(chunk), states_, shape_);
    const std::int64_t whole = has_segment_form() ? segment_.features_shape[2] : -1;
    const std::int64_t piece = has_chunk_form() ? chunk_.features_shape[2] : whole;
    if (has_segment_form() && whole != piece) {
      throw BundleError(std::string("[") + kWhere + "] expected both graphs to give features of " +
                        "one width, got " + std::to_string(whole) + " from " +
                        segment_names::kGraph + " and " + std::to_string(piece) + " from " +
                        chunk_names::kGraph + "; export the bundle again");
    }
    width_ = static_cast<std::size_t>(piece);
  }

  std::size_t width() const override { return width_; }
  bool has_segment_form() const override { return segment_.graph != nullptr; }
  bool has_chunk_form() const override { return chunk_.graph != nullptr; }
  bool has_short_form() const override { return segment_.any_length; }
  std::size_t segment_frames(std::size_t n) const override {
    return static_cast<std::size_t>(encoded_shape(n).dims[1]);
  }
  std::size_t segment_features(std::size_t n) const override {
    return static_cast<std::size_t>(features_shape(n).dims[1]);
  }

  void encode_segment(std::span<const float> log_mel, std::span<float> features,
                      std::span<float> encoded, const StopFlag& stop) const override {
    require(segment_.graph, "encode_segment", segment_names::kGraph);
    const std::size_t n =
        std::clamp<std::size_t>(log_mel.size() / shape_.n_mels, 1, shape_.segment_mel_frames);
    check_size("encode_segment", "log_mel", log_mel.size(),
               shape_.n_mels * (segment_.any_length ? n : shape_.segment_mel_frames));
    const Shape features_out = features_shape(n);
    const Shape encoded_out = encoded_shape(n);
    check_size("encode_segment", "features", features.size(),
               static_cast<std::size_t>(features_out.count()));
    if (!encoded.empty()) {
      check_size("encode_segment", "encoded", encoded.size(),
                 static_cast<std::size_t>(encoded_out.count()));
    }
    const std::array<TensorView, 1> inputs = {view(log_mel.data(), mel_shape(log_mel.size()))};
    std::array<TensorView, 2> outputs;
    outputs[segment_.features] = view(features.data(), features_out);
    outputs[segment_.encoded] = view(encoded.empty() ? nullptr : encoded.data(), encoded_out);
    segment_.graph->run(inputs, outputs, stop);
  }

  StatePtr create_state() const override {
    require(chunk_.graph, "create_state", chunk_names::kGraph);
    return std::make_unique<EncoderState>(states_);
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
    for (std::size_t i = 0; i < states_.size(); ++i) {
      mine.inputs[chunk_.state_in[i]] = mine.committed(i);
      mine.outputs[chunk_.state_out[i]] = mine.next(i);
    }
    chunk_.graph->run(mine.inputs, mine.outputs, stop);
    mine.pending = true;
  }

 private:
  static void require(const std::shared_ptr<const GraphRunner>& graph, const char* verb,
                      const char* name) {
    if (graph) return;
    throw BundleError(std::string("[encoder.") + verb + "] expected a bundle with graph " + name +
                      ", got one without; export it with that form of the encoder");
  }

  Shape mel_shape(std::size_t n_values) const {
    return {1, static_cast<std::int64_t>(shape_.n_mels),
            static_cast<std::int64_t>(n_values / shape_.n_mels)};
  }

  // What the graph gives for n mel frames; one of whole segments gives always the same.
  Shape encoded_shape(std::size_t n) const {
    return rows_for(segment_.encoded_shape, n, kEncoderHalvings);
  }
  Shape features_shape(std::size_t n) const {
    return rows_for(segment_.features_shape, n, shape_.feature_halvings);
  }
  Shape rows_for(Shape shape, std::size_t n, int halvings) const {
    if (segment_.any_length) shape.dims[1] = halved(n, halvings);
    return shape;
  }

  EncoderShape shape_;
  std::vector<StateSpec> states_;
  SegmentForm segment_;
  ChunkForm chunk_;
  std::size_t width_ = 0;
};

}  // namespace

std::unique_ptr<Encoder> make_graph_encoder(std::shared_ptr<const GraphRunner> segment,
                                            std::shared_ptr<const GraphRunner> chunk,
                                            std::vector<StateSpec> states, EncoderShape shape) {
  return std::make_unique<GraphEncoder>(std::move(segment), std::move(chunk), std::move(states),
                                        shape);
}

}  // namespace parley
