// A GraphRunner over one ONNX Runtime session; knows nothing of speech.
#include <algorithm>
#include <array>
#include <thread>

#include "parley/errors.h"
#include "runners/ort/devices.h"
#include "runners/ort/library.h"
#include "runners/ort/ort.h"

namespace parley {
namespace {

using namespace ort;

// Bounds the arrays that run() keeps on its stack; the streaming encoder of 32 layers needs 75.
constexpr std::size_t kMostTensors = 256;

std::string text_of(std::span<const std::int64_t> dims) {
  std::string text = "[";
  for (std::size_t i = 0; i < dims.size(); ++i) {
    text += (i == 0 ? "" : ", ") + (dims[i] < 0 ? std::string("any") : std::to_string(dims[i]));
  }
  return text + "]";
}

std::span<const std::int64_t> dims_of(const Shape& shape) {
  return {shape.dims.data(), static_cast<std::size_t>(shape.rank)};
}

int element_type_of(DType type) {
  return type == DType::f32 ? kFloat : type == DType::i64 ? kInt64 : kFloat16;
}

// The values of one run; they lie over the caller's memory and own none of it.
class Values {
 public:
  explicit Values(const Library& library) : library_(library) {}
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;
  ~Values() {
    for (std::size_t i = 0; i < count_; ++i) library_.api().release_value(values_[i]);
  }

  void add(const TensorView& tensor, const TensorSpec& spec) {
    static float nothing = 0.0F;  // an empty tensor may come without memory
    void* data = tensor.data == nullptr ? &nothing : tensor.data;
    const auto bytes = static_cast<std::size_t>(tensor.shape.count()) * size_of(tensor.type);
    const Failure failure = library_.take(
        library_.api().tensor_over(library_.cpu_memory(), data, bytes, tensor.shape.dims.data(),
                                   static_cast<std::size_t>(tensor.shape.rank),
                                   element_type_of(tensor.type), &values_[count_]));
    if (failure.code != 0) {
      throw InputError("[ort.run] expected a tensor for '" + spec.name + "', got '" +
                       failure.message + "'; do pass dense memory of its shape");
    }
    names_[count_++] = spec.name.c_str();
  }

  std::size_t count() const { return count_; }
  Value** values() { return values_.data(); }
  const char* const* names() const { return names_.data(); }

 private:
  const Library& library_;
  std::size_t count_ = 0;
  std::array<Value*, kMostTensors> values_;
  std::array<const char*, kMostTensors> names_;
};

class OrtGraph final : public GraphRunner {
 public:
  OrtGraph(const Library& library, Handle<Session> session, std::string file)
      : library_(library), session_(std::move(session)), file_(std::move(file)) {
    const Api& api = library_.api();
    inputs_ = read_specs(api.input_count, api.input_name, api.input_type);
    outputs_ = read_specs(api.output_count, api.output_name, api.output_type);
  }

  const std::vector<TensorSpec>& inputs() const override { return inputs_; }
  const std::vector<TensorSpec>& outputs() const override { return outputs_; }

  void run(std::span<const TensorView> inputs, std::span<const TensorView> outputs,
           const StopFlag& stop) const override {
    stop.check();
    check_all(inputs, inputs_, "inputs");
    check_all(outputs, outputs_, "outputs");
    Values in(library_);
    Values out(library_);
    for (std::size_t i = 0; i < inputs.size(); ++i) in.add(inputs[i], inputs_[i]);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].data != nullptr) out.add(outputs[i], outputs_[i]);
    }
    if (out.count() > 0) execute(in, out);
    stop.check();
  }

 private:
  void execute(Values& in, Values& out) const {
    clear_log();
    const Failure failure =
        library_.take(library_.api().run(session_.get(), nullptr, in.names(), in.values(),
                                         in.count(), out.names(), out.count(), out.values()));
    if (failure.code == 0) return;
    if (failure.code == kEpFail || failure.code == kEngineError) {
      throw LibraryError("[ort.run] expected the device to run '" + file_ + "', got '" +
                         failure.message + "'; do free its memory or take the device 'cpu'");
    }
    throw InputError("[ort.run] expected shapes that fit together in '" + file_ + "', got '" +
                     failure.message + "'; do pass the free dimensions that the graph's inputs " +
                     "and outputs share, and memory enough for them");
  }

  void check_all(std::span<const TensorView> views, const std::vector<TensorSpec>& specs,
                 const char* what) const {
    if (views.size() != specs.size()) {
      throw InputError("[ort.run] expected " + std::to_string(specs.size()) + " " + what + " of '" +
                       file_ + "', got " + std::to_string(views.size()) +
                       "; do pass one view per tensor, in the graph's order");
    }
    const bool may_be_null = &specs == &outputs_;
    for (std::size_t i = 0; i < views.size(); ++i) {
      if (views[i].data == nullptr && may_be_null) continue;
      check_one(views[i], specs[i]);
    }
  }

  void check_one(const TensorView& view, const TensorSpec& spec) const {
    const auto dims = dims_of(view.shape);
    bool fits = view.type == spec.type && dims.size() == spec.shape.size();
    bool negative = false;
    for (std::size_t i = 0; fits && i < dims.size(); ++i) {
      fits = spec.shape[i] < 0 || spec.shape[i] == dims[i];
      negative = negative || dims[i] < 0;
    }
    if (!fits || negative) {
      throw InputError("[ort.run] expected '" + spec.name + "' of '" + file_ + "' to be " +
                       name_of(spec.type) + " " + text_of(spec.shape) + ", got " +
                       name_of(view.type) + " " + text_of(dims) + "; do pass that type and shape");
    }
    if (view.data == nullptr && view.shape.count() > 0) {
      throw InputError("[ort.run] expected memory for the input '" + spec.name + "' of '" + file_ +
                       "', got none; do point the view at its data");
    }
  }

  using Count = Status* (*)(const Session*, std::size_t*);
  using Name = Status* (*)(const Session*, std::size_t, Allocator*, char**);
  using Type = Status* (*)(const Session*, std::size_t, TypeInfo**);

  std::vector<TensorSpec> read_specs(Count count, Name name, Type type) const {
    const Api& api = library_.api();
    std::size_t n = 0;
    library_.require(count(session_.get(), &n), "a count of tensors");
    if (n > kMostTensors) {
      throw BundleError("[ort.open] expected at most " + std::to_string(kMostTensors) +
                        " inputs and as many outputs in '" + file_ + "', got " + std::to_string(n) +
                        "; do export the bundle again");
    }
    Allocator* allocator = nullptr;
    library_.require(api.default_allocator(&allocator), "its allocator");
    std::vector<TensorSpec> specs(n);
    for (std::size_t i = 0; i < n; ++i) {
      char* text = nullptr;
      library_.require(name(session_.get(), i, allocator, &text), "a tensor's name");
      specs[i].name = text;
      library_.require(api.allocator_free(allocator, text), "to free a name");
      TypeInfo* raw = nullptr;
      library_.require(type(session_.get(), i, &raw), "a tensor's type");
      const Handle<TypeInfo> info(raw, api.release_type_info);
      read_type(info.get(), specs[i]);
    }
    return specs;
  }

  void read_type(const TypeInfo* info, TensorSpec& spec) const {
    const Api& api = library_.api();
    const TensorInfo* tensor = nullptr;
    library_.require(api.as_tensor_info(info, &tensor), "a tensor's description");
    int type = 0;
    std::size_t rank = 0;
    if (tensor != nullptr) {
      library_.require(api.element_type(tensor, &type), "an element type");
      library_.require(api.rank(tensor, &rank), "a rank");
    }
    if ((type != kFloat && type != kInt64 && type != kFloat16) ||
        rank > std::size_t{Shape::kMaxRank}) {
      throw BundleError("[ort.open] expected '" + spec.name + "' of '" + file_ +
                        "' to be an f32, f16 or i64 tensor of at most " +
                        std::to_string(Shape::kMaxRank) + " dimensions, got element type " +
                        std::to_string(type) + " with " + std::to_string(rank) +
                        " dimensions; do export the bundle again");
    }
    spec.type = type == kFloat ? DType::f32 : type == kInt64 ? DType::i64 : DType::f16;
    spec.shape.resize(rank);
    library_.require(api.dimensions(tensor, spec.shape.data(), rank), "a shape");
  }

  const Library& library_;
  Handle<Session> session_;
  std::string file_;  // the name only, for messages
  std::vector<TensorSpec> inputs_;
  std::vector<TensorSpec> outputs_;
};

Handle<SessionOptions> make_options(const Library& library, const GraphOptions& wanted) {
  const Api& api = library.api();
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  SessionOptions* raw = nullptr;
  library.require(api.create_session_options(&raw), "session options");
  Handle<SessionOptions> options(raw, api.release_session_options);
  const auto set = [&](Status* status) { library.require(status, "to take a session option"); };
  set(api.set_execution_mode(raw, kSequential));
  set(api.set_log_severity(raw, kWarning));
  set(api.set_optimization(raw, kAllOptimizations));
  set(api.set_intra_threads(raw, wanted.threads > 0 ? wanted.threads : cores));
  set(api.set_inter_threads(raw, 1));
  // ggml's threads want the cores as soon as a graph is done.
  set(api.add_config_entry(raw, "session.intra_op.allow_spinning", "0"));
  set(api.add_config_entry(raw, "session.inter_op.allow_spinning", "0"));
  library.add_custom_ops(raw);
  add_device(library, raw, wanted.device, wanted.deterministic);
  return options;
}

}  // namespace

const std::vector<std::string>& graph_custom_ops() {
  return custom_op_names();
}

std::shared_ptr<const GraphRunner> open_graph(const std::string& library,
                                              const std::filesystem::path& graph,
                                              const GraphOptions& options) {
  const Library& opened = Library::open(library);
  const Handle<SessionOptions> session_options = make_options(opened, options);
  clear_log();
  Session* raw = nullptr;
  const Failure failure = opened.take(
      opened.api().create_session(opened.env(), graph.c_str(), session_options.get(), &raw));
  if (failure.code != 0 && options.device != "cpu" &&
      (failure.code == kEpFail || failure.code == kEngineError)) {
    throw LibraryError("[ort.open] expected '" + graph.string() + "' to open on the device '" +
                       options.device + "', got '" + failure.message + "'; do " +
                       device_remedy(options.device));
  }
  if (failure.code != 0) {
    throw BundleError("[ort.open] expected an ONNX graph that ONNX Runtime " + opened.version() +
                      " can run in '" + graph.string() + "', got '" + failure.message +
                      "'; do export the bundle again");
  }
  Handle<Session> session(raw, opened.api().release_session);
  return std::make_shared<OrtGraph>(opened, std::move(session), graph.filename().string());
}

}  // namespace parley
