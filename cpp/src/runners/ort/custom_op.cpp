// Calls that the kernels of custom operators have in common; knows no operator.
#include "runners/ort/custom_op.h"

#include <algorithm>
#include <cstdio>

namespace parley::ort {

Status* read_tensor(const KernelApi& api, const Value* value, Tensor& out) {
  PARLEY_TRY(api.tensor_data(const_cast<Value*>(value), &out.data));
  TensorInfo* info = nullptr;
  PARLEY_TRY(api.tensor_info(value, &info));
  Status* status = api.count(info, &out.count);
  if (status == nullptr) status = api.rank(info, &out.rank);
  if (status == nullptr)
    status = api.dimensions(info, out.dims, std::min<std::size_t>(out.rank, 3));
  api.release_tensor_info(info);
  return status;
}

Status* read_input(const KernelApi& api, const KernelContext* context, std::size_t index,
                   Tensor& out) {
  const Value* value = nullptr;
  PARLEY_TRY(api.input(context, index, &value));
  return read_tensor(api, value, out);
}

Status* make_output(const KernelApi& api, KernelContext* context, const std::int64_t (&dims)[3],
                    float*& out) {
  Value* value = nullptr;
  PARLEY_TRY(api.output(context, 0, dims, 3, &value));
  void* data = nullptr;
  PARLEY_TRY(api.tensor_data(value, &data));
  out = static_cast<float*>(data);
  return nullptr;
}

Status* complain(const KernelApi& api, const char* where, const char* expected, std::size_t got) {
  char text[200];
  std::snprintf(text, sizeof text, "[%s] expected %s, got %zu; do export the graph again", where,
                expected, got);
  return api.create_status(kInvalidArgument, text);
}

std::int64_t read_attribute(const KernelApi& api, const KernelInfo* info, const char* name) {
  std::int64_t value = 0;
  if (Status* missing = api.attribute(info, name, &value)) api.release_status(missing);
  return value;
}

}  // namespace parley::ort
