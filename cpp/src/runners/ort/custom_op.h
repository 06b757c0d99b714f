// What ONNX Runtime wants to know of a custom operator, and the calls that its kernel makes; knows
// no operator.
#pragma once
#include "runners/ort/api.h"

namespace parley::ort {

struct KernelInfo;
struct KernelContext;

// Handed over by pointer; lives as long as the process. Fields in the library's order.
struct CustomOp {
  std::uint32_t version = kApiVersion;
  void* create_kernel = nullptr;  // the first version, unused
  const char* (*name)(const CustomOp*);
  const char* (*provider)(const CustomOp*);  // null for the CPU
  int (*input_type)(const CustomOp*, std::size_t);
  std::size_t (*input_count)(const CustomOp*);
  int (*output_type)(const CustomOp*, std::size_t);
  std::size_t (*output_count)(const CustomOp*);
  void* compute_kernel = nullptr;  // the first version, unused
  void (*destroy)(void* kernel);
  int (*input_characteristic)(const CustomOp*, std::size_t);
  int (*output_characteristic)(const CustomOp*, std::size_t);
  int (*input_memory)(const CustomOp*, std::size_t);
  void* variadic[4] = {};
  Status* (*create)(const CustomOp*, const void* table, const KernelInfo*, void** kernel);
  Status* (*compute)(void* kernel, KernelContext*);
  void* unused[7] = {};  // shape inference, versions, aliases
};

constexpr int kCpuInput = -2;  // an input that stays in the CPU's memory whatever the provider

// The part of the interface that kernels call.
struct KernelApi {
  Status* (*create_status)(int code, const char* message);
  Status* (*tensor_data)(Value*, void** out);
  Status* (*rank)(const TensorInfo*, std::size_t* out);
  Status* (*dimensions)(const TensorInfo*, std::int64_t* dims, std::size_t rank);
  Status* (*count)(const TensorInfo*, std::size_t* out);
  Status* (*tensor_info)(const Value*, TensorInfo** out);
  Status* (*attribute)(const KernelInfo*, const char* name, std::int64_t* out);
  // A weight that lies in the graph; not a constant: is_constant 0.
  Status* (*constant)(const KernelInfo*, std::size_t index, int* is_constant, const Value** out);
  Status* (*input)(const KernelContext*, std::size_t index, const Value** out);
  Status* (*output)(KernelContext*, std::size_t index, const std::int64_t* dims, std::size_t rank,
                    Value** out);
  void (*release_status)(Status*);
  void (*release_tensor_info)(TensorInfo*);
  Status* (*stream)(const KernelContext*, void** out);
  Status* (*parallel_for)(const KernelContext*, void (*)(void* user, std::size_t index),
                          std::size_t total, std::size_t batches, void* user);
};

inline KernelApi read_kernel_api(const void* table) {
  KernelApi api{};
  const auto read = [table](auto& function, int slot) {
    function = at_slot<std::remove_reference_t<decltype(function)>>(table, slot);
  };
  read(api.create_status, 0);
  read(api.tensor_data, 51);
  read(api.rank, 61);
  read(api.dimensions, 62);
  read(api.count, 64);
  read(api.tensor_info, 65);
  read(api.attribute, 86);
  read(api.input, 90);
  read(api.output, 91);
  read(api.release_status, 93);
  read(api.release_tensor_info, 99);
  read(api.stream, 193);
  read(api.constant, 249);
  read(api.parallel_for, 274);
  return api;
}

// A tensor's memory and its first three dimensions.
struct Tensor {
  void* data;
  std::size_t count, rank;
  std::int64_t dims[3];
};

#define PARLEY_TRY(status) \
  if (Status* failed = (status); failed != nullptr) return failed

Status* read_tensor(const KernelApi& api, const Value* value, Tensor& out);
Status* read_input(const KernelApi& api, const KernelContext* context, std::size_t index,
                   Tensor& out);
// Makes the only output, [dims[0], dims[1], dims[2]].
Status* make_output(const KernelApi& api, KernelContext* context, const std::int64_t (&dims)[3],
                    float*& out);
// "[op.verb] expected ..., got ...; do export the graph again"
Status* complain(const KernelApi& api, const char* where, const char* expected, std::size_t got);
// An integer attribute; 0 where the node has none.
std::int64_t read_attribute(const KernelApi& api, const KernelInfo* info, const char* name);

}  // namespace parley::ort
