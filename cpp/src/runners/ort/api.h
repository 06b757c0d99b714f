// The part of ONNX Runtime's C interface that parley calls, by slot of its table; no vendor header.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace parley::ort {

// The table only grows, so a newer library serves too.
constexpr std::uint32_t kApiVersion = 29;

// Owned by the library; we only hold pointers.
struct Status;
struct Env;
struct Session;
struct SessionOptions;
struct RunOptions;
struct Value;
struct TypeInfo;
struct TensorInfo;
struct MemoryInfo;
struct Allocator;
struct CudaOptions;
struct TensorRtOptions;

enum ErrorCode : int {
  kInvalidArgument = 2,
  kEngineError = 5,
  kEpFail = 11,
};
enum ElementType : int { kFloat = 1, kInt64 = 7, kFloat16 = 10, kBf16 = 16 };
enum LogLevel : int { kWarning = 2 };
enum GraphOptimization : int { kAllOptimizations = 99 };
enum ExecutionMode : int { kSequential = 0 };
enum AllocatorType : int { kDeviceAllocator = 0 };
enum MemoryType : int { kDefaultMemory = 0 };

using Logger = void (*)(void* param, int level, const char* category, const char* id,
                        const char* location, const char* message);

struct ApiBase {
  const void* (*get_api)(std::uint32_t version);  // null where the library is older
  const char* (*version_string)();
};
using GetApiBase = const ApiBase* (*)();

template <typename Function>
Function at_slot(const void* table, int slot) {
  Function function;
  std::memcpy(&function, static_cast<const char*>(table) + sizeof(void*) * std::size_t(slot),
              sizeof function);
  return function;
}

// A returned Status is null for success and is released otherwise.
struct Api {
  int (*get_error_code)(const Status*);
  const char* (*get_error_message)(const Status*);
  Status* (*create_env)(Logger, void* param, int level, const char* id, Env** out);
  Status* (*create_session)(const Env*, const char* path, const SessionOptions*, Session** out);
  Status* (*run)(Session*, const RunOptions*, const char* const* input_names,
                 const Value* const* inputs, std::size_t n_inputs, const char* const* output_names,
                 std::size_t n_outputs, Value** outputs);
  Status* (*create_session_options)(SessionOptions** out);
  Status* (*set_execution_mode)(SessionOptions*, int mode);
  Status* (*set_log_severity)(SessionOptions*, int level);
  Status* (*set_optimization)(SessionOptions*, int level);
  Status* (*set_intra_threads)(SessionOptions*, int n);
  Status* (*set_inter_threads)(SessionOptions*, int n);
  Status* (*input_count)(const Session*, std::size_t* out);
  Status* (*output_count)(const Session*, std::size_t* out);
  Status* (*input_type)(const Session*, std::size_t index, TypeInfo** out);
  Status* (*output_type)(const Session*, std::size_t index, TypeInfo** out);
  Status* (*input_name)(const Session*, std::size_t index, Allocator*, char** out);
  Status* (*output_name)(const Session*, std::size_t index, Allocator*, char** out);
  Status* (*tensor_over)(const MemoryInfo*, void* data, std::size_t bytes, const std::int64_t* dims,
                         std::size_t rank, int type, Value** out);
  Status* (*as_tensor_info)(const TypeInfo*, const TensorInfo** out);  // null: no tensor; not owned
  Status* (*element_type)(const TensorInfo*, int* out);
  Status* (*rank)(const TensorInfo*, std::size_t* out);
  Status* (*dimensions)(const TensorInfo*, std::int64_t* dims, std::size_t rank);
  Status* (*create_cpu_memory_info)(int allocator_type, int memory_type, MemoryInfo** out);
  Status* (*allocator_free)(Allocator*, void* memory);
  Status* (*default_allocator)(Allocator** out);  // owned by the library
  void (*release_env)(Env*);
  void (*release_status)(Status*);
  void (*release_memory_info)(MemoryInfo*);
  void (*release_session)(Session*);
  void (*release_value)(Value*);
  void (*release_type_info)(TypeInfo*);
  void (*release_session_options)(SessionOptions*);
  Status* (*available_providers)(char*** out, int* count);
  Status* (*release_providers)(char** names, int count);
  Status* (*add_config_entry)(SessionOptions*, const char* key, const char* value);
  Status* (*append_tensorrt)(SessionOptions*, const TensorRtOptions*);
  Status* (*create_tensorrt_options)(TensorRtOptions** out);
  Status* (*update_tensorrt_options)(TensorRtOptions*, const char* const* keys,
                                     const char* const* values, std::size_t n);
  void (*release_tensorrt_options)(TensorRtOptions*);
  Status* (*append_cuda)(SessionOptions*, const CudaOptions*);
  Status* (*create_cuda_options)(CudaOptions** out);
  Status* (*update_cuda_options)(CudaOptions*, const char* const* keys, const char* const* values,
                                 std::size_t n);
  void (*release_cuda_options)(CudaOptions*);
};

inline Api read_api(const void* table) {
  Api api{};
  const auto read = [table](auto& function, int slot) {
    function = at_slot<std::remove_reference_t<decltype(function)>>(table, slot);
  };
  read(api.get_error_code, 1);
  read(api.get_error_message, 2);
  read(api.create_env, 4);
  read(api.create_session, 7);
  read(api.run, 9);
  read(api.create_session_options, 10);
  read(api.set_execution_mode, 13);
  read(api.set_log_severity, 22);
  read(api.set_optimization, 23);
  read(api.set_intra_threads, 24);
  read(api.set_inter_threads, 25);
  read(api.input_count, 30);
  read(api.output_count, 31);
  read(api.input_type, 33);
  read(api.output_type, 34);
  read(api.input_name, 36);
  read(api.output_name, 37);
  read(api.tensor_over, 49);
  read(api.as_tensor_info, 55);
  read(api.element_type, 60);
  read(api.rank, 61);
  read(api.dimensions, 62);
  read(api.create_cpu_memory_info, 69);
  read(api.allocator_free, 76);
  read(api.default_allocator, 78);
  read(api.release_env, 92);
  read(api.release_status, 93);
  read(api.release_memory_info, 94);
  read(api.release_session, 95);
  read(api.release_value, 96);
  read(api.release_type_info, 98);
  read(api.release_session_options, 100);
  read(api.available_providers, 125);
  read(api.release_providers, 126);
  read(api.add_config_entry, 130);
  read(api.append_tensorrt, 170);
  read(api.create_tensorrt_options, 171);
  read(api.update_tensorrt_options, 172);
  read(api.release_tensorrt_options, 174);
  read(api.append_cuda, 204);
  read(api.create_cuda_options, 205);
  read(api.update_cuda_options, 206);
  read(api.release_cuda_options, 208);
  return api;
}

}  // namespace parley::ort
