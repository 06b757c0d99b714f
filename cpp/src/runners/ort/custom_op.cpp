// Calls that the kernels of custom operators have in common; knows no operator.
#include "runners/ort/custom_op.h"

#include <algorithm>
#include <cstdio>

namespace parley::ort {

OrtStatus* read_tensor(const OrtApi& api, const OrtValue* value, Tensor& out) {
  PARLEY_TRY(api.GetTensorMutableData(const_cast<OrtValue*>(value), &out.data));
  OrtTensorTypeAndShapeInfo* info = nullptr;
  PARLEY_TRY(api.GetTensorTypeAndShape(value, &info));
  OrtStatus* status = api.GetTensorShapeElementCount(info, &out.count);
  if (status == nullptr) status = api.GetDimensionsCount(info, &out.rank);
  if (status == nullptr)
    status = api.GetDimensions(info, out.dims, std::min<std::size_t>(out.rank, 3));
  api.ReleaseTensorTypeAndShapeInfo(info);
  return status;
}

OrtStatus* read_input(const OrtApi& api, const OrtKernelContext* context, std::size_t index,
                      Tensor& out) {
  const OrtValue* value = nullptr;
  PARLEY_TRY(api.KernelContext_GetInput(context, index, &value));
  return read_tensor(api, value, out);
}

OrtStatus* make_output(const OrtApi& api, OrtKernelContext* context, const std::int64_t (&dims)[3],
                       OrtValue*& value, float*& out) {
  PARLEY_TRY(api.KernelContext_GetOutput(context, 0, dims, 3, &value));
  void* data = nullptr;
  PARLEY_TRY(api.GetTensorMutableData(value, &data));
  out = static_cast<float*>(data);
  return nullptr;
}

OrtStatus* complain(const OrtApi& api, const char* where, const char* expected, std::size_t got) {
  char text[200];
  std::snprintf(text, sizeof text, "[%s] expected %s, got %zu; export the graph again", where,
                expected, got);
  return api.CreateStatus(ORT_INVALID_ARGUMENT, text);
}

std::int64_t read_attribute(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  std::int64_t value = 0;
  if (OrtStatus* missing = api.KernelInfoGetAttribute_int64(info, name, &value))
    api.ReleaseStatus(missing);
  return value;
}

OrtCustomOp make_custom_op() {
  OrtCustomOp op{};
  op.version = ORT_API_VERSION;
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // CPU
  op.GetOutputTypeCount = [](const OrtCustomOp*) { return std::size_t{1}; };
  op.GetOutputType = [](const OrtCustomOp*, std::size_t) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  };
  op.GetInputCharacteristic = [](const OrtCustomOp*, std::size_t) { return INPUT_OUTPUT_REQUIRED; };
  op.GetOutputCharacteristic = op.GetInputCharacteristic;
  op.GetInputMemoryType = [](const OrtCustomOp*, std::size_t) { return OrtMemTypeDefault; };
  return op;
}

}  // namespace parley::ort
