// A library with ONNX Runtime's function table and one graph, y = x + x over [1, T]; it counts what
// is alive and fails on demand, so tests see every status and handle given back. Computes nothing
// else.
#include <dlfcn.h>
#include <onnxruntime_c_api.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>

// What the header declares and every library defines for itself; a status is a failure.
struct OrtStatus {
  std::string text;
};
struct OrtValue {
  float* data;
  std::size_t count;
};

namespace {

struct Object {
  int kind;
};

long live = 0;
std::string failing;   // the function whose call fails
std::string needed;    // a library without which the CUDA provider does not start
int devices = 0;       // the last two that were added, as decimal digits: 1 TensorRT, 2 CUDA
int pool_threads = 0;  // of the environment's pool
bool no_pool = false;  // as if a program had made the environment before us, without a pool
int own_threads = 0;   // of the last session that asked for a pool of its own
bool shares = false;   // whether the last session's options share the pool

template <typename T>
T* make() {
  ++live;
  return reinterpret_cast<T*>(new Object{});
}
template <typename T>
void drop(T* object) {
  if (object == nullptr) return;
  --live;
  delete reinterpret_cast<Object*>(object);
}

OrtStatus* fail(const std::string& text) {
  ++live;
  return new OrtStatus{text};
}
OrtStatus* outcome(const char* name) {
  return failing == name ? fail("the stub\nfails") : nullptr;
}

// Each fills a place of the table with a function that may fail under its name and ...
template <typename... A, typename Name>
void plain(OrtStatus* (*&place)(A...) noexcept, Name) {  // ... does nothing else
  place = [](A...) noexcept { return outcome(Name{}()); };
}
template <typename... A, typename Name>
void create(OrtStatus* (*&place)(A...) noexcept, Name) {  // ... makes what its last argument is for
  place = [](A... args) noexcept {
    constexpr std::size_t kLast = sizeof...(A) - 1;
    using T = std::remove_pointer_t<std::tuple_element_t<kLast, std::tuple<A...>>>;
    OrtStatus* status = outcome(Name{}());
    auto made = status == nullptr ? make<std::remove_pointer_t<T>>() : nullptr;
    *std::get<kLast>(std::tuple<A...>(args...)) = made;
    return status;
  };
}
template <typename Out, typename... A, typename Name>
void number(OrtStatus* (*&place)(A...) noexcept, Name, Out) {  // ... writes Out's number there
  place = [](A... args) noexcept {
    *std::get<sizeof...(A) - 1>(std::tuple<A...>(args...)) = Out{}();
    return outcome(Name{}());
  };
}
template <typename T>
void release(void (*&place)(T*)) {
  place = [](T* object) noexcept { drop(object); };
}
#define NAMED(kind, name, ...) kind(table.name, [] { return #name; } __VA_OPT__(, ) __VA_ARGS__)

OrtApi table{};

void environments() {
  table.GetErrorCode = [](const OrtStatus*) noexcept { return ORT_EP_FAIL; };
  table.GetErrorMessage = [](const OrtStatus* s) noexcept { return s->text.c_str(); };
  table.ReleaseStatus = [](OrtStatus* status) noexcept {
    --live;
    delete status;
  };
  NAMED(create, CreateThreadingOptions);
  table.SetGlobalIntraOpNumThreads = [](OrtThreadingOptions*, int n) noexcept {
    pool_threads = n;
    return outcome("SetGlobalIntraOpNumThreads");
  };
  NAMED(plain, SetGlobalInterOpNumThreads);
  NAMED(plain, SetGlobalSpinControl);
  NAMED(plain, SetGlobalCustomCreateThreadFn);
  NAMED(plain, SetGlobalCustomJoinThreadFn);
  NAMED(create, CreateEnvWithCustomLoggerAndGlobalThreadPools);
  NAMED(create, CreateCpuMemoryInfo);
  NAMED(create, CreateCustomOpDomain);
  NAMED(plain, CustomOpDomain_Add);
  NAMED(plain, AddCustomOpDomain);
  release(table.ReleaseThreadingOptions);
  release(table.ReleaseEnv);
  release(table.ReleaseMemoryInfo);
  release(table.ReleaseCustomOpDomain);
  table.GetAvailableProviders = [](char*** out, int* n) noexcept {
    static char cuda[] = "CUDAExecutionProvider";
    static char tensorrt[] = "TensorrtExecutionProvider";
    static char cpu[] = "CPUExecutionProvider";
    static char* names[] = {tensorrt, cuda, cpu};
    *out = names;
    *n = 3;
    return outcome("GetAvailableProviders");
  };
  NAMED(plain, ReleaseAvailableProviders);
}

void options() {
  NAMED(create, CreateSessionOptions);
  NAMED(plain, SetSessionExecutionMode);
  NAMED(plain, SetSessionLogSeverityLevel);
  NAMED(plain, SetSessionGraphOptimizationLevel);
  NAMED(plain, SetInterOpNumThreads);
  NAMED(plain, AddSessionConfigEntry);
  NAMED(plain, SessionOptionsSetCustomCreateThreadFn);
  NAMED(plain, SessionOptionsSetCustomJoinThreadFn);
  table.DisablePerSessionThreads = [](OrtSessionOptions*) noexcept {
    shares = true;
    return outcome("DisablePerSessionThreads");
  };
  table.SetIntraOpNumThreads = [](OrtSessionOptions*, int n) noexcept {
    shares = false;
    own_threads = n;
    return outcome("SetIntraOpNumThreads");
  };
  NAMED(create, CreateTensorRTProviderOptions);
  NAMED(plain, UpdateTensorRTProviderOptions);
  table.SessionOptionsAppendExecutionProvider_TensorRT_V2 =
      [](OrtSessionOptions*, const OrtTensorRTProviderOptionsV2*) noexcept {
        devices = devices % 10 * 10 + 1;
        return outcome("SessionOptionsAppendExecutionProvider_TensorRT_V2");
      };
  // Here, for ONNX Runtime loads a provider's library at the first call that needs it.
  table.CreateCUDAProviderOptions = [](OrtCUDAProviderOptionsV2** out) noexcept {
    *out = nullptr;
    if (!needed.empty() && dlopen(needed.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr)
      return fail(std::string("Failed to load the provider with error: ") + dlerror());
    if (OrtStatus* status = outcome("CreateCUDAProviderOptions")) return status;
    *out = make<OrtCUDAProviderOptionsV2>();
    return static_cast<OrtStatus*>(nullptr);
  };
  NAMED(plain, UpdateCUDAProviderOptions);
  table.SessionOptionsAppendExecutionProvider_CUDA_V2 =
      [](OrtSessionOptions*, const OrtCUDAProviderOptionsV2*) noexcept {
        devices = devices % 10 * 10 + 2;
        return outcome("SessionOptionsAppendExecutionProvider_CUDA_V2");
      };
  release(table.ReleaseSessionOptions);
  release(table.ReleaseTensorRTProviderOptions);
  release(table.ReleaseCUDAProviderOptions);
}

void sessions() {
  table.CreateSession = [](const OrtEnv*, const char*, const OrtSessionOptions*,
                           OrtSession** out) noexcept {
    OrtStatus* status = outcome("CreateSession");
    *out = status == nullptr ? make<OrtSession>() : nullptr;
    return status;
  };
  table.CreateSessionFromArray = [](const OrtEnv*, const void*, std::size_t,
                                    const OrtSessionOptions*, OrtSession** out) noexcept {
    OrtStatus* status = shares && no_pool ? fail("no pool") : outcome("CreateSessionFromArray");
    *out = status == nullptr ? make<OrtSession>() : nullptr;
    return status;
  };
  NAMED(number, SessionGetInputCount, [] { return std::size_t{1}; });
  NAMED(number, SessionGetOutputCount, [] { return std::size_t{1}; });
  NAMED(create, SessionGetInputTypeInfo);
  NAMED(create, SessionGetOutputTypeInfo);
  NAMED(create, SessionGetInputName);  // an empty text
  NAMED(create, SessionGetOutputName);
  table.CastTypeInfoToTensorInfo = [](const OrtTypeInfo* info,
                                      const OrtTensorTypeAndShapeInfo** out) noexcept {
    *out = reinterpret_cast<const OrtTensorTypeAndShapeInfo*>(info);
    return outcome("CastTypeInfoToTensorInfo");
  };
  NAMED(number, GetTensorElementType, [] { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; });
  NAMED(number, GetDimensionsCount, [] { return std::size_t{2}; });
  table.GetDimensions = [](const OrtTensorTypeAndShapeInfo*, std::int64_t* dims,
                           std::size_t) noexcept {
    dims[0] = 1;
    dims[1] = -1;
    return outcome("GetDimensions");
  };
  table.AllocatorFree = [](OrtAllocator*, void* memory) noexcept {
    drop(memory);
    return outcome("AllocatorFree");
  };
  table.GetAllocatorWithDefaultOptions = [](OrtAllocator** out) noexcept {
    static OrtAllocator one{};
    *out = &one;
    return outcome("GetAllocatorWithDefaultOptions");
  };
  release(table.ReleaseSession);
  release(table.ReleaseTypeInfo);
}

void runs() {
  table.CreateTensorWithDataAsOrtValue = [](const OrtMemoryInfo*, void* data, std::size_t bytes,
                                            const std::int64_t*, std::size_t,
                                            ONNXTensorElementDataType, OrtValue** out) noexcept {
    if (OrtStatus* status = outcome("CreateTensorWithDataAsOrtValue")) return status;
    ++live;
    *out = static_cast<OrtValue*>(std::malloc(sizeof(OrtValue)));
    **out = {static_cast<float*>(data), bytes / sizeof(float)};
    return static_cast<OrtStatus*>(nullptr);
  };
  table.ReleaseValue = [](OrtValue* value) noexcept {
    if (value != nullptr) --live;
    std::free(value);
  };
  table.Run = [](OrtSession*, const OrtRunOptions*, const char* const*,
                 const OrtValue* const* inputs, std::size_t, const char* const*, std::size_t,
                 OrtValue** outputs) noexcept {
    if (OrtStatus* status = outcome("Run")) return status;
    for (std::size_t i = 0; i < outputs[0]->count; ++i)
      outputs[0]->data[i] = 2.0F * inputs[0]->data[i];
    return static_cast<OrtStatus*>(nullptr);
  };
}

const OrtApi* get_api(uint32_t) noexcept {
  environments();
  options();
  sessions();
  runs();
  return &table;
}

const char* version() noexcept {
  return "1.99.0";
}

const OrtApiBase base{get_api, version};

}  // namespace

extern "C" {
const OrtApiBase* OrtGetApiBase() noexcept {
  return &base;
}
long stub_live() {
  return live;
}
void stub_fail_at(const char* name) {
  failing = name;
}
void stub_need(const char* library) {
  needed = library;
}
void stub_no_pool(bool none) {
  no_pool = none;
}
int stub_devices() {
  const int added = devices;
  devices = 0;
  return added;
}
int stub_pool_threads() {
  return pool_threads;
}
// Of the last session's own pool; 0 where it shares.
int stub_own_threads() {
  return shares ? 0 : own_threads;
}
}
