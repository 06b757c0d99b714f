// A GraphRunner over one ONNX Runtime session; knows nothing of speech.
#include <algorithm>
#include <array>

#include "parley/errors.hpp"
#include "runners/ort/devices.h"
#include "runners/ort/forms.h"
#include "runners/ort/library.h"
#include "runners/ort/ort.h"
#include "runners/ort/session_options.h"

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

ONNXTensorElementDataType element_type_of(DType type) {
  if (type == DType::f32) return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  return type == DType::i64 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64
                            : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
}

// The values of one run; they lie over the caller's memory and own none of it.
class Values {
 public:
  explicit Values(const Library& library) : library_(library) {}
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;
  ~Values() {
    for (std::size_t i = 0; i < count_; ++i) library_.api().ReleaseValue(values_[i]);
  }

  void add(const TensorView& tensor, const TensorSpec& spec) {
    static float nothing = 0.0F;  // an empty tensor may come without memory
    void* data = tensor.data == nullptr ? &nothing : tensor.data;
    const auto bytes = static_cast<std::size_t>(tensor.shape.count()) * size_of(tensor.type);
    const Failure failure = library_.take(library_.api().CreateTensorWithDataAsOrtValue(
        library_.cpu_memory(), data, bytes, tensor.shape.dims.data(),
        static_cast<std::size_t>(tensor.shape.rank), element_type_of(tensor.type),
        &values_[count_]));
    if (failure.code != 0) {
      throw InputError("[ort.run] expected a tensor for '" + spec.name + "', got '" +
                       failure.message + "'; pass dense memory of its shape");
    }
    names_[count_++] = spec.name.c_str();
  }

  std::size_t count() const { return count_; }
  OrtValue** values() { return values_.data(); }
  const char* const* names() const { return names_.data(); }

 private:
  const Library& library_;
  std::size_t count_ = 0;
  std::array<OrtValue*, kMostTensors> values_;
  std::array<const char*, kMostTensors> names_;
};

class OrtGraph final : public GraphRunner {
 public:
  OrtGraph(const Library& library, std::shared_ptr<const Environment> environment,
           Handle<OrtSession> session, std::string file)
      : library_(library),
        environment_(std::move(environment)),
        session_(std::move(session)),
        file_(std::move(file)) {
    const OrtApi& api = library_.api();
    inputs_ =
        read_specs(api.SessionGetInputCount, api.SessionGetInputName, api.SessionGetInputTypeInfo);
    outputs_ = read_specs(api.SessionGetOutputCount, api.SessionGetOutputName,
                          api.SessionGetOutputTypeInfo);
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
        library_.take(library_.api().Run(session_.get(), nullptr, in.names(), in.values(),
                                         in.count(), out.names(), out.count(), out.values()));
    if (failure.code == 0) return;
    if (failure.code == ORT_EP_FAIL || failure.code == ORT_ENGINE_ERROR) {
      throw LibraryError("[ort.run] expected the device to run '" + file_ + "', got '" +
                         failure.message + "'; free its memory or take the device 'cpu'");
    }
    refuse_no_memory("[ort.run] ", "'" + file_ + "'", failure.message);
    throw InputError("[ort.run] expected shapes that fit together in '" + file_ + "', got '" +
                     failure.message + "'; pass the free dimensions that the graph's inputs " +
                     "and outputs share");
  }

  void check_all(std::span<const TensorView> views, const std::vector<TensorSpec>& specs,
                 const char* what) const {
    if (views.size() != specs.size()) {
      throw InputError("[ort.run] expected " + std::to_string(specs.size()) + " " + what + " of '" +
                       file_ + "', got " + std::to_string(views.size()) +
                       "; pass one view per tensor, in the graph's order");
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
                       name_of(view.type) + " " + text_of(dims) + "; pass that type and shape");
    }
    if (view.data == nullptr && view.shape.count() > 0) {
      throw InputError("[ort.run] expected memory for the input '" + spec.name + "' of '" + file_ +
                       "', got none; point the view at its data");
    }
  }

  using Count = decltype(OrtApi::SessionGetInputCount);
  using Name = decltype(OrtApi::SessionGetInputName);
  using Type = decltype(OrtApi::SessionGetInputTypeInfo);

  std::vector<TensorSpec> read_specs(Count count, Name name, Type type) const {
    const OrtApi& api = library_.api();
    std::size_t n = 0;
    library_.require(count(session_.get(), &n), "a count of tensors");
    if (n > kMostTensors) {
      throw BundleError("[ort.open] expected at most " + std::to_string(kMostTensors) +
                        " inputs and as many outputs in '" + file_ + "', got " + std::to_string(n) +
                        "; export the bundle again");
    }
    OrtAllocator* allocator = nullptr;
    library_.require(api.GetAllocatorWithDefaultOptions(&allocator), "its allocator");
    std::vector<TensorSpec> specs(n);
    for (std::size_t i = 0; i < n; ++i) {
      char* text = nullptr;
      library_.require(name(session_.get(), i, allocator, &text), "a tensor's name");
      specs[i].name = text;
      library_.require(api.AllocatorFree(allocator, text), "to free a name");
      OrtTypeInfo* raw = nullptr;
      library_.require(type(session_.get(), i, &raw), "a tensor's type");
      const Handle<OrtTypeInfo> info(raw, api.ReleaseTypeInfo);
      read_type(info.get(), specs[i]);
    }
    return specs;
  }

  void read_type(const OrtTypeInfo* info, TensorSpec& spec) const {
    const OrtApi& api = library_.api();
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    library_.require(api.CastTypeInfoToTensorInfo(info, &tensor), "a tensor's description");
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    std::size_t rank = 0;
    if (tensor != nullptr) {
      library_.require(api.GetTensorElementType(tensor, &type), "an element type");
      library_.require(api.GetDimensionsCount(tensor, &rank), "a rank");
    }
    if ((type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT &&
         type != ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 &&
         type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16) ||
        rank > std::size_t{Shape::kMaxRank}) {
      throw BundleError("[ort.open] expected '" + spec.name + "' of '" + file_ +
                        "' to be an f32, f16 or i64 tensor of at most " +
                        std::to_string(Shape::kMaxRank) + " dimensions, got element type " +
                        std::to_string(type) + " with " + std::to_string(rank) +
                        " dimensions; export the bundle again");
    }
    spec.type = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT   ? DType::f32
                : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 ? DType::i64
                                                              : DType::f16;
    spec.shape.resize(rank);
    library_.require(api.GetDimensions(tensor, spec.shape.data(), rank), "a shape");
  }

  const Library& library_;
  std::shared_ptr<const Environment> environment_;  // before the session, which lives in it
  Handle<OrtSession> session_;
  std::string file_;  // the name only, for messages
  std::vector<TensorSpec> inputs_;
  std::vector<TensorSpec> outputs_;
};

}  // namespace

std::string kernel_forms() {
  return forms().text();
}
void set_kernel_forms(std::string_view text) {
  forms().read(text);
}

const std::vector<std::string>& graph_custom_ops() {
  return custom_op_names();
}

std::shared_ptr<const GraphRunner> open_graph(const std::string& library,
                                              const std::filesystem::path& graph,
                                              const GraphOptions& options) {
  const Library& opened = Library::open(library);
  auto environment = opened.environment(threads_of(options));
  const Handle<OrtSessionOptions> session_options =
      make_session_options(opened, *environment, options);
  if (options.device != "cpu") opened.keep(environment);
  clear_log();
  OrtSession* raw = nullptr;
  const Failure failure = opened.take(opened.api().CreateSession(
      environment->env.get(), graph.c_str(), session_options.get(), &raw));
  if (failure.code != 0 && options.device != "cpu" &&
      (failure.code == ORT_EP_FAIL || failure.code == ORT_ENGINE_ERROR))
    refuse_device(opened, options.device, failure);
  if (failure.code != 0) {
    refuse_no_memory("[ort.open] ", "'" + graph.string() + "'", failure.message);
    throw BundleError("[ort.open] expected an ONNX graph that ONNX Runtime " + opened.version() +
                      " can run in '" + graph.string() + "', got '" + failure.message +
                      "'; export the bundle again");
  }
  Handle<OrtSession> session(raw, opened.api().ReleaseSession);
  return std::make_shared<OrtGraph>(opened, std::move(environment), std::move(session),
                                    graph.filename().string());
}

}  // namespace parley
