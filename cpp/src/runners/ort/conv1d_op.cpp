// The operator parley.Conv1d: packs weights when a graph is opened, inputs when it runs; the
// arithmetic is kernels/conv1d.
#include "runners/ort/conv1d_op.h"

#include <algorithm>
#include <new>
#include <vector>

#include "kernels/conv1d/conv1d.h"

namespace parley::ort {
namespace {

enum Input : std::size_t { kX, kWeight, kBias, kInputs };

constexpr const char* kWhere = "conv1d.run";
// About 30 microseconds of work: less is not worth waking a thread for.
constexpr std::size_t kProductsPerTask = std::size_t{4} << 20;

struct Kernel {
  const OrtApi* api;
  conv1d_shape shape;  // without samples
  std::vector<std::uint32_t> weights;
};

struct Call {
  conv1d_shape shape;
  std::size_t pairs, blocks, tasks;
  const std::uint32_t* weights;
  const float *bias, *x;
  std::uint32_t* input;
  float* y;
};

void pack(void* user, std::size_t index) {
  const Call& call = *static_cast<const Call*>(user);
  conv1d_pack_input(&call.shape, call.x, call.pairs * index / call.tasks,
                    call.pairs * (index + 1) / call.tasks, call.input);
}

void convolve(void* user, std::size_t index) {
  const Call& call = *static_cast<const Call*>(user);
  conv1d_forward(&call.shape, call.weights, call.bias, call.input, call.blocks * index / call.tasks,
                 call.blocks * (index + 1) / call.tasks, call.y);
}

OrtStatus* read_call(const Kernel& kernel, OrtKernelContext* context, Call& call) {
  const OrtApi& api = *kernel.api;
  Tensor x{}, bias{};
  PARLEY_TRY(read_input(api, context, kX, x));
  PARLEY_TRY(read_input(api, context, kBias, bias));
  call.shape = kernel.shape;
  if (x.rank != 3 || x.dims[0] != 1) return complain(api, kWhere, "x [1, in, T]", x.rank);
  if (x.dims[1] != static_cast<std::int64_t>(call.shape.in))
    return complain(api, kWhere, "as many channels as weights",
                    static_cast<std::size_t>(x.dims[1]));
  if (bias.count != call.shape.out) return complain(api, kWhere, "a bias per output", bias.count);
  call.shape.samples = static_cast<std::size_t>(x.dims[2]);
  const std::size_t reach = call.shape.dilation * (call.shape.taps - 1);
  const std::size_t outputs = call.shape.samples > reach ? call.shape.samples - reach : 0;
  call.pairs = (call.shape.in + 1) / 2;
  call.blocks = (call.shape.out + CONV1D_BLOCK - 1) / CONV1D_BLOCK;
  const std::size_t products = call.shape.in * call.shape.out * call.shape.taps * outputs;
  call.tasks = std::clamp<std::size_t>(products / kProductsPerTask, 1, call.blocks);
  call.weights = kernel.weights.data();
  call.bias = static_cast<const float*>(bias.data);
  call.x = static_cast<const float*>(x.data);
  const std::int64_t dims[] = {1, static_cast<std::int64_t>(call.shape.out),
                               static_cast<std::int64_t>(outputs)};
  return make_output(api, context, dims, call.y);
}

OrtStatus* compute(void* state, OrtKernelContext* context) {
  const Kernel& kernel = *static_cast<const Kernel*>(state);
  Call call{};
  PARLEY_TRY(read_call(kernel, context, call));
  // Grows to the largest input of the thread's graphs and stays: allocating it anew costs as much
  // as a small convolution.
  thread_local std::vector<std::uint32_t> packed;
  try {
    packed.resize(std::max(packed.size(), conv1d_input_words(&call.shape)));
  } catch (const std::bad_alloc&) {
    return complain(*kernel.api, kWhere, "memory for its input", 0);
  }
  call.input = packed.data();
  if (call.tasks == 1) {
    pack(&call, 0);
    convolve(&call, 0);
    return nullptr;
  }
  PARLEY_TRY(kernel.api->KernelContext_ParallelFor(context, pack, call.tasks, 0, &call));
  return kernel.api->KernelContext_ParallelFor(context, convolve, call.tasks, 0, &call);
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
    auto* kernel = new Kernel{api, {size(1), size(0), size(2), std::size_t(dilation), 0}, {}};
    *out = kernel;
    kernel->weights.resize(conv1d_weight_words(&kernel->shape));
    conv1d_pack_weights(&kernel->shape, static_cast<const std::uint16_t*>(weight.data),
                        kernel->weights.data());
    return nullptr;
  } catch (const std::bad_alloc&) {
    delete static_cast<Kernel*>(*out);
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
