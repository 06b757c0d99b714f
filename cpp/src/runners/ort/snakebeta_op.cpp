// The operator parley.SnakeBeta for ONNX Runtime's CPU and CUDA providers; the arithmetic is
// kernels/snakebeta.
#include "runners/ort/snakebeta_op.h"

#include <algorithm>
#include <new>

#include "kernels/snakebeta/snakebeta.h"

namespace parley::ort {
namespace {

enum Input : std::size_t { kX, kAlpha, kBeta, kRange, kInputs };

// About 25 microseconds of work: less is not worth waking a thread for.
constexpr std::size_t kOutputsPerTask = 32768;

struct Kernel {
  const OrtApi* api;
  bool cuda;
  std::size_t left, right;
};

struct Call {
  parley_snakebeta_window window;
  std::size_t rows, tasks;
  const float *x, *alpha, *beta;
  float* out;
};

constexpr const char* kWhere = "snakebeta.run";

OrtStatus* read_call(const Kernel& kernel, OrtKernelContext* context, Call& call) {
  const OrtApi& api = *kernel.api;
  Tensor inputs[kInputs];
  for (std::size_t i = 0; i < kInputs; ++i) PARLEY_TRY(read_input(api, context, i, inputs[i]));
  const Tensor& x = inputs[kX];
  if (x.rank != 3) return complain(api, kWhere, "x of 3 dimensions", x.rank);
  const auto channels = static_cast<std::size_t>(x.dims[1]);
  const auto samples = static_cast<std::size_t>(x.dims[2]);
  if (inputs[kAlpha].count != channels)
    return complain(api, kWhere, "an alpha per channel", channels);
  if (inputs[kBeta].count != channels) return complain(api, kWhere, "a beta per channel", channels);
  if (inputs[kRange].count != 2) return complain(api, kWhere, "a range of 2", inputs[kRange].count);
  if (samples < kernel.left + kernel.right)
    return complain(api, kWhere, "at least left + right samples", samples);
  const auto* range = static_cast<const std::int64_t*>(inputs[kRange].data);
  call.window = {channels, samples, range[0], range[1], kernel.left, kernel.right};
  call.rows = static_cast<std::size_t>(x.dims[0]) * channels;
  call.x = static_cast<const float*>(x.data);
  call.alpha = static_cast<const float*>(inputs[kAlpha].data);
  call.beta = static_cast<const float*>(inputs[kBeta].data);
  const std::int64_t dims[] = {x.dims[0], x.dims[1],
                               static_cast<std::int64_t>(samples - kernel.left - kernel.right)};
  OrtValue* value = nullptr;
  PARLEY_TRY(make_output(api, context, dims, value, call.out));
  const std::size_t outputs = call.rows * static_cast<std::size_t>(dims[2]);
  call.tasks =
      std::clamp<std::size_t>(outputs / kOutputsPerTask, 1, std::max<std::size_t>(call.rows, 1));
  return nullptr;
}

void run_task(void* user, std::size_t index) {
  const Call& call = *static_cast<const Call*>(user);
  parley_snakebeta_forward(&call.window, call.x, call.alpha, call.beta,
                           call.rows * index / call.tasks, call.rows * (index + 1) / call.tasks,
                           call.out);
}

OrtStatus* compute(void* state, OrtKernelContext* context) {
  const Kernel& kernel = *static_cast<const Kernel*>(state);
  Call call{};
  PARLEY_TRY(read_call(kernel, context, call));
#if defined(PARLEY_CUDA)
  if (kernel.cuda) {
    void* stream = nullptr;
    PARLEY_TRY(kernel.api->KernelContext_GetGPUComputeStream(context, &stream));
    const char* failure = parley_snakebeta_forward_cuda(&call.window, call.x, call.alpha, call.beta,
                                                        call.rows, call.out, stream);
    return failure == nullptr ? nullptr : kernel.api->CreateStatus(ORT_EP_FAIL, failure);
  }
#endif
  if (call.tasks > 1)
    return kernel.api->KernelContext_ParallelFor(context, run_task, call.tasks, 0, &call);
  run_task(&call, 0);
  return nullptr;
}

OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** out) {
  const std::int64_t left = read_attribute(*api, info, "left");
  const std::int64_t right = read_attribute(*api, info, "right");
  if (left < 0 || right < 0) {
    return api->CreateStatus(ORT_INVALID_ARGUMENT,
                             "[snakebeta.create] expected left and right of 0 or more, got less; "
                             "export the graph again");
  }
  *out = new (std::nothrow) Kernel{api, op->GetExecutionProviderType(op) != nullptr,
                                   static_cast<std::size_t>(left), static_cast<std::size_t>(right)};
  if (*out != nullptr) return nullptr;
  return api->CreateStatus(ORT_FAIL, "[snakebeta.create] expected memory, got none; free some");
}

OrtCustomOp make_op(const char* (*provider)(const OrtCustomOp*)) {
  OrtCustomOp op = make_custom_op();
  op.GetName = [](const OrtCustomOp*) { return "SnakeBeta"; };
  op.GetExecutionProviderType = provider;
  op.GetInputTypeCount = [](const OrtCustomOp*) { return std::size_t{kInputs}; };
  op.GetInputType = [](const OrtCustomOp*, std::size_t i) {
    return i == kRange ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  };
  // The range stays in the CPU's memory whatever the provider.
  op.GetInputMemoryType = [](const OrtCustomOp*, std::size_t i) {
    return i == kRange ? OrtMemTypeCPUInput : OrtMemTypeDefault;
  };
  op.CreateKernelV2 = create;
  op.KernelComputeV2 = compute;
  op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  return op;
}

}  // namespace

std::vector<const OrtCustomOp*> snakebeta_ops() {
  static const OrtCustomOp cpu = make_op([](const OrtCustomOp*) -> const char* { return nullptr; });
#if defined(PARLEY_CUDA)
  static const OrtCustomOp cuda =
      make_op([](const OrtCustomOp*) -> const char* { return "CUDAExecutionProvider"; });
  return {&cpu, &cuda};
#else
  return {&cpu};
#endif
}

}  // namespace parley::ort
