// The operator parley.Conv1d: packs weights when a graph is opened, inputs when it runs; the
// arithmetic is kernels/conv1d, or ONNX Runtime's own Conv where that is faster.
#include "runners/ort/conv1d_op.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "kernels/conv1d/conv1d.h"
#include "runners/ort/forms.h"

namespace parley::ort {
namespace {

enum Input : std::size_t { kX, kWeight, kBias, kInputs };

constexpr const char* kWhere = "conv1d.run";
// About 30 microseconds of work: less is not worth waking a thread for.
constexpr std::size_t kProductsPerTask = std::size_t{4} << 20;
// The size at which the forms are compared: a few tenths of a millisecond.
constexpr std::size_t kProductsCompared = std::size_t{8} << 20;
constexpr std::size_t kMinCompared = 32, kMaxCompared = 2048;  // outputs of a channel

struct Kernel {
  const OrtApi* api;
  parley_conv1d_shape shape;  // without samples
  std::vector<std::uint32_t> weights;
  // ONNX Runtime's Conv in float32; none where it cannot be had or is the slower one.
  Handle<OrtOp> conv{nullptr, nullptr};
  std::vector<float> plain_weights;
  Handle<OrtValue> plain_value{nullptr, nullptr};
  std::once_flag compared;
};

struct Call {
  parley_conv1d_shape shape;
  std::size_t outputs, pairs, blocks, tasks;
  const float *bias, *x;
  float* y;
  const OrtValue *bias_value, *x_value;
  OrtValue* y_value;
  const std::uint32_t* weights;
  std::uint32_t* input;
};

void pack(void* user, std::size_t index) {
  const Call& call = *static_cast<const Call*>(user);
  parley_conv1d_pack_input(&call.shape, call.x, call.pairs * index / call.tasks,
                           call.pairs * (index + 1) / call.tasks, call.input);
}

void convolve(void* user, std::size_t index) {
  const Call& call = *static_cast<const Call*>(user);
  parley_conv1d_forward(&call.shape, call.weights, call.bias, call.input,
                        call.blocks * index / call.tasks, call.blocks * (index + 1) / call.tasks,
                        call.y);
}

// Sizes that follow from a number of samples.
void set_samples(Call& call, std::size_t samples) {
  call.shape.samples = samples;
  const std::size_t reach = call.shape.dilation * (call.shape.taps - 1);
  call.outputs = samples > reach ? samples - reach : 0;
  call.pairs = (call.shape.in + 1) / 2;
  call.blocks = (call.shape.out + CONV1D_BLOCK - 1) / CONV1D_BLOCK;
  const std::size_t products = call.shape.in * call.shape.out * call.shape.taps * call.outputs;
  call.tasks = std::clamp<std::size_t>(products / kProductsPerTask, 1, call.blocks);
}

OrtStatus* read_call(const Kernel& kernel, OrtKernelContext* context, Call& call) {
  const OrtApi& api = *kernel.api;
  Tensor x{}, bias{};
  PARLEY_TRY(api.KernelContext_GetInput(context, kX, &call.x_value));
  PARLEY_TRY(api.KernelContext_GetInput(context, kBias, &call.bias_value));
  PARLEY_TRY(read_tensor(api, call.x_value, x));
  PARLEY_TRY(read_tensor(api, call.bias_value, bias));
  call.shape = kernel.shape;
  if (x.rank != 3 || x.dims[0] != 1) return complain(api, kWhere, "x [1, in, T]", x.rank);
  if (x.dims[1] != static_cast<std::int64_t>(call.shape.in))
    return complain(api, kWhere, "as many channels as weights",
                    static_cast<std::size_t>(x.dims[1]));
  if (bias.count != call.shape.out) return complain(api, kWhere, "a bias per output", bias.count);
  set_samples(call, static_cast<std::size_t>(x.dims[2]));
  call.bias = static_cast<const float*>(bias.data);
  call.x = static_cast<const float*>(x.data);
  const std::int64_t dims[] = {1, static_cast<std::int64_t>(call.shape.out),
                               static_cast<std::int64_t>(call.outputs)};
  return make_output(api, context, dims, call.y_value, call.y);
}

OrtStatus* run_own(const Kernel& kernel, OrtKernelContext* context, Call& call) {
  // Grows to the largest input of the thread's graphs and stays: allocating it anew costs as much
  // as a small convolution.
  thread_local std::vector<std::uint32_t> packed;
  packed.resize(std::max(packed.size(), parley_conv1d_input_words(&call.shape)));
  call.input = packed.data();
  call.weights = kernel.weights.data();
  if (call.tasks == 1) {
    pack(&call, 0);
    convolve(&call, 0);
    return nullptr;
  }
  PARLEY_TRY(kernel.api->KernelContext_ParallelFor(context, pack, call.tasks, 0, &call));
  return kernel.api->KernelContext_ParallelFor(context, convolve, call.tasks, 0, &call);
}

OrtStatus* run_conv(const Kernel& kernel, OrtKernelContext* context, const Call& call) {
  const OrtValue* inputs[] = {call.x_value, kernel.plain_value.get(), call.bias_value};
  OrtValue* outputs[] = {call.y_value};
  return kernel.api->InvokeOp(context, kernel.conv.get(), inputs, 3, outputs, 1);
}

// A tensor [a, b, c] over `data`.
Handle<OrtValue> tensor_over(const OrtApi& api, std::vector<float>& data,
                             const std::size_t (&dims)[3]) {
  const std::int64_t shape[] = {static_cast<std::int64_t>(dims[0]),
                                static_cast<std::int64_t>(dims[1]),
                                static_cast<std::int64_t>(dims[2])};
  OrtMemoryInfo* memory = nullptr;
  OrtValue* value = nullptr;
  OrtStatus* status = api.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory);
  if (status == nullptr)
    status =
        api.CreateTensorWithDataAsOrtValue(memory, data.data(), data.size() * sizeof(float), shape,
                                           3, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value);
  api.ReleaseMemoryInfo(memory);
  api.ReleaseStatus(status);
  return {value, api.ReleaseValue};
}

// The graph's weights, rounded as they are, in float32.
void set_plain_weights(Kernel& kernel, OrtKernelContext* context) {
  Tensor weight{};
  if (OrtStatus* status = read_input(*kernel.api, context, kWeight, weight)) {
    kernel.api->ReleaseStatus(status);
    return;
  }
  const auto* bits = static_cast<const std::uint16_t*>(weight.data);
  kernel.plain_weights.resize(weight.count);
  for (std::size_t i = 0; i < weight.count; ++i)
    kernel.plain_weights[i] = std::bit_cast<float>(std::uint32_t{bits[i]} << 16U);
  kernel.plain_value = tensor_over(*kernel.api, kernel.plain_weights,
                                   {kernel.shape.out, kernel.shape.in, kernel.shape.taps});
}

std::string name_of(const parley_conv1d_shape& s) {
  return "conv1d " + std::to_string(s.in) + " " + std::to_string(s.out) + " " +
         std::to_string(s.taps);
}

// On made-up samples of one length: the choice must not depend on how a signal is cut.
Form measure(const Kernel& kernel, OrtKernelContext* context, Call call) {
  const parley_conv1d_shape& s = kernel.shape;
  const std::size_t n =
      std::clamp(kProductsCompared / (s.in * s.out * s.taps), kMinCompared, kMaxCompared);
  set_samples(call, n + s.dilation * (s.taps - 1));
  std::vector<float> x(s.in * call.shape.samples), y(s.out * n);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 101) / 50.0F - 1;
  const auto x_value = tensor_over(*kernel.api, x, {1, s.in, call.shape.samples});
  const auto y_value = tensor_over(*kernel.api, y, {1, s.out, n});
  call.x = x.data();
  call.y = y.data();
  call.x_value = x_value.get();
  call.y_value = y_value.get();
  const auto time = [&](Form form) {
    if (form == Form::library && (!kernel.conv || !kernel.plain_value)) return -1.0;
    const auto begin = std::chrono::steady_clock::now();
    OrtStatus* status =
        form == Form::own ? run_own(kernel, context, call) : run_conv(kernel, context, call);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    if (status == nullptr) return took.count();
    kernel.api->ReleaseStatus(status);
    return -1.0;
  };
  return forms().choose(name_of(s), time);
}

// Keeps the faster form and frees the other's weights. Where the faster one is known, the other's
// are not made: all of a model's at once would delay its first sound.
void compare(Kernel& kernel, OrtKernelContext* context, const Call& call) {
  const std::optional<Form> known = forms().known(name_of(kernel.shape));
  if (kernel.conv && known != Form::own) set_plain_weights(kernel, context);
  const Form faster = known ? *known : measure(kernel, context, call);
  if (faster == Form::library && kernel.plain_value) {
    kernel.weights = {};
  } else {
    kernel.conv.reset();
    kernel.plain_value.reset();
    kernel.plain_weights = {};
  }
}

OrtStatus* compute(void* state, OrtKernelContext* context) {
  Kernel& kernel = *static_cast<Kernel*>(state);
  Call call{};
  PARLEY_TRY(read_call(kernel, context, call));
  if (call.outputs == 0) return nullptr;
  try {
    std::call_once(kernel.compared, [&] { compare(kernel, context, call); });
    return kernel.conv ? run_conv(kernel, context, call) : run_own(kernel, context, call);
  } catch (const std::bad_alloc&) {
    return complain(*kernel.api, kWhere, "memory for its input", 0);
  }
}

// ONNX Runtime's Conv of this dilation; none where this library does not give it.
Handle<OrtOp> make_conv(const OrtApi& api, const OrtKernelInfo* info, std::int64_t dilation) {
  OrtOpAttr* attribute = nullptr;
  OrtOp* conv = nullptr;
  OrtStatus* status = api.CreateOpAttr("dilations", &dilation, 1, ORT_OP_ATTR_INTS, &attribute);
  const char* type_names[] = {"T"};
  const ONNXTensorElementDataType types[] = {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};
  if (status == nullptr)
    status = api.CreateOp(info, "Conv", "", 11, type_names, types, 1, &attribute, 1, 3, 1, &conv);
  if (attribute != nullptr) api.ReleaseOpAttr(attribute);
  if (status != nullptr) api.ReleaseStatus(status);
  return {conv, api.ReleaseOp};
}

OrtStatus* create(const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** out) {
  int is_constant = 0;
  const OrtValue* value = nullptr;
  PARLEY_TRY(api->KernelInfoGetConstantInput_tensor(info, kWeight, &is_constant, &value));
  Tensor weight{};
  if (is_constant != 0) PARLEY_TRY(read_tensor(*api, value, weight));
  const std::int64_t dilation = read_attribute(*api, info, "dilation");
  if (weight.rank != 3 || weight.count == 0 || dilation < 1)
    return complain(*api, "conv1d.create", "constant weights [out, in, taps] and a dilation", 0);
  const auto size = [&](int i) { return static_cast<std::size_t>(weight.dims[i]); };
  try {
    auto kernel = std::make_unique<Kernel>();
    kernel->api = api;
    kernel->shape = {size(1), size(0), size(2), std::size_t(dilation), 0};
    kernel->weights.resize(parley_conv1d_weight_words(&kernel->shape));
    parley_conv1d_pack_weights(&kernel->shape, static_cast<const std::uint16_t*>(weight.data),
                               kernel->weights.data());
    kernel->conv = make_conv(*api, info, dilation);
    *out = kernel.release();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return complain(*api, "conv1d.create", "memory for the weights", 0);
  }
}

OrtCustomOp make_op() {
  OrtCustomOp op = make_custom_op();
  op.GetName = [](const OrtCustomOp*) { return "Conv1d"; };
  op.GetInputTypeCount = [](const OrtCustomOp*) { return std::size_t{kInputs}; };
  op.GetInputType = [](const OrtCustomOp*, std::size_t i) {
    return i == kWeight ? ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16
                        : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  };
  op.CreateKernelV2 = create;
  op.KernelComputeV2 = compute;
  op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  return op;
}

}  // namespace

const OrtCustomOp* conv1d_op() {
  static const OrtCustomOp op = make_op();
  return &op;
}

}  // namespace parley::ort
