// The ONNX Runtime runner against stub libraries: versions, failures of any call, and allocations.
#include <dlfcn.h>

#include <filesystem>
#include <utility>

#include "check.h"
#include "count_allocations.h"
#include "parley/errors.hpp"
#include "runner_support.h"
#include "runners/ort/ort.h"
#include "scratch_folder.h"

using namespace parley;

namespace {

class Stub {
 public:
  Stub() : handle_(dlopen(path().c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
  }
  static std::string path() { return support::stub("stub_onnxruntime"); }
  long live() const { return call<long()>("stub_live")(); }
  int devices() const { return call<int()>("stub_devices")(); }
  int pool_threads() const { return call<int()>("stub_pool_threads")(); }
  int own_threads() const { return call<int()>("stub_own_threads")(); }
  void fail_at(const char* name) const { call<void(const char*)>("stub_fail_at")(name); }
  void need(const char* library) const { call<void(const char*)>("stub_need")(library); }
  void no_pool(bool none) const { call<void(bool)>("stub_no_pool")(none); }

 private:
  template <typename F>
  F* call(const char* name) const {
    return reinterpret_cast<F*>(dlsym(handle_, name));
  }
  void* handle_;
};

void run_once(const GraphRunner& graph) {
  const float x[] = {1.0F, 2.0F, 3.0F};
  float y[3] = {};
  const TensorView inputs[] = {view(x, {1, 3})};
  const TensorView outputs[] = {view(y, {1, 3})};
  graph.run(inputs, outputs, StopFlag());
  if (y[2] != 6.0F) throw std::runtime_error("the stub's graph doubles its input");
}

// Opens a graph on every device and runs it; throws what the runner throws.
void use_everything() {
  for (const char* device : {"tensorrt", "cuda", "cpu"}) {
    run_once(*open_graph(Stub::path(), "any.onnx", {.device = device, .threads = 3}));
    try_onnxruntime_device(Stub::path(), device);
  }
  onnxruntime_providers(Stub::path());
}

// Every call that may fail on the way to an opened and run graph.
constexpr const char* kCalls[] = {
    "CreateThreadingOptions",
    "SetGlobalIntraOpNumThreads",
    "SetGlobalInterOpNumThreads",
    "SetGlobalSpinControl",
    "SetGlobalCustomCreateThreadFn",
    "SetGlobalCustomJoinThreadFn",
    "CreateEnvWithCustomLoggerAndGlobalThreadPools",
    "AddCustomOpDomain",
    "CreateSessionOptions",
    "SetSessionExecutionMode",
    "SetSessionLogSeverityLevel",
    "SetSessionGraphOptimizationLevel",
    "DisablePerSessionThreads",
    "CreateTensorRTProviderOptions",
    "UpdateTensorRTProviderOptions",
    "SessionOptionsAppendExecutionProvider_TensorRT_V2",
    "CreateCUDAProviderOptions",
    "UpdateCUDAProviderOptions",
    "SessionOptionsAppendExecutionProvider_CUDA_V2",
    "CreateSession",
    "SessionGetInputCount",
    "SessionGetOutputCount",
    "SessionGetInputName",
    "SessionGetOutputName",
    "AllocatorFree",
    "GetAllocatorWithDefaultOptions",
    "SessionGetInputTypeInfo",
    "SessionGetOutputTypeInfo",
    "CastTypeInfoToTensorInfo",
    "GetTensorElementType",
    "GetDimensionsCount",
    "GetDimensions",
    "CreateTensorWithDataAsOrtValue",
    "Run",
    "SetIntraOpNumThreads",
    "SetInterOpNumThreads",
    "SessionOptionsSetCustomCreateThreadFn",
    "SessionOptionsSetCustomJoinThreadFn",
    "AddSessionConfigEntry",
    "GetAvailableProviders",
    "ReleaseAvailableProviders",
};

}  // namespace

TEST(a_missing_library_says_where_it_was_looked_for) {
  CHECK_THROWS_MSG(LibraryError, "/nowhere/libonnxruntime.so",
                   onnxruntime_version("/nowhere/libonnxruntime.so"));
  CHECK_THROWS_MSG(LibraryError, "pip install", onnxruntime_version("/nowhere/libonnxruntime.so"));
}

TEST(a_library_of_something_else_is_refused) {
  CHECK_THROWS_MSG(LibraryError, "without OrtGetApiBase",
                   onnxruntime_version(support::stub("stub_llama_old")));
  const ScratchFolder folder;
  folder.write("text.so", "not a library");
  CHECK_THROWS_MSG(LibraryError, "text.so", onnxruntime_version(folder.path() / "text.so"));
}

TEST(an_old_library_is_named_with_its_version) {
  const std::string old = support::stub("stub_onnxruntime_old");
  CHECK_THROWS_MSG(LibraryError, "expected ONNX Runtime 1.29 or later", onnxruntime_version(old));
  CHECK_THROWS_MSG(LibraryError, "got 1.20.3; install ONNX Runtime 1.29 or later",
                   open_graph(old, "any.onnx", {}));
}

TEST(several_graphs_share_one_pool_that_goes_with_the_last) {
  const Stub stub;
  const long before = stub.live();
  {
    const auto first = open_graph(Stub::path(), "any.onnx", {.threads = 3});
    const auto second = open_graph(Stub::path(), "any.onnx", {.threads = 3});
    CHECK_EQ(stub.pool_threads(), 3);
    CHECK_EQ(stub.own_threads(), 0);
    // Another number meanwhile: a pool of its own.
    const auto third = open_graph(Stub::path(), "any.onnx", {.threads = 2});
    CHECK_EQ(stub.pool_threads(), 3);
    CHECK_EQ(stub.own_threads(), 2);
  }
  const auto later = open_graph(Stub::path(), "any.onnx", {.threads = 2});
  CHECK_EQ(stub.pool_threads(), 2);
  CHECK_EQ(stub.own_threads(), 0);
  CHECK(stub.live() - before <= 4);  // a graph, its environment, and what stays for the process
}

TEST(an_environment_without_a_pool_gives_every_graph_its_own) {
  const Stub stub;
  stub.no_pool(true);
  const auto first = open_graph(Stub::path(), "any.onnx", {.threads = 3});
  CHECK_EQ(stub.own_threads(), 3);
  stub.no_pool(false);
}

// A device that was opened keeps the environment: from here on it stays.
TEST(any_failing_call_gives_one_error_and_leaks_nothing) {
  const Stub stub;
  const long before = stub.live();
  for (const char* call : kCalls) {
    stub.fail_at(call);
    try {
      use_everything();
      check::fail(__FILE__, __LINE__, std::string(call) + " failed unnoticed");
    } catch (const Error& error) {
      const std::string text = error.what();
      if (text.find("the stub fails") == std::string::npos)
        check::fail(__FILE__, __LINE__, std::string(call) + ": " + text);
    }
    stub.fail_at("");
    CHECK(stub.live() - before <= 1);  // at most the environment
  }
  use_everything();
  const long after = stub.live();
  use_everything();
  CHECK_EQ(stub.live(), after);
}

TEST(a_device_that_cannot_start_is_a_library_error) {
  const Stub stub;
  for (const char* call : {"SessionOptionsAppendExecutionProvider_CUDA_V2", "CreateSession"}) {
    stub.fail_at(call);
    CHECK_THROWS_MSG(LibraryError, "got 'the stub fails'; see whether `nvidia-smi` shows",
                     open_graph(Stub::path(), "any.onnx", {.device = "cuda"}));
    stub.fail_at("");
  }
  stub.fail_at("CreateSessionFromArray");
  CHECK_THROWS_MSG(LibraryError, "to start the device 'cuda'",
                   try_onnxruntime_device(Stub::path(), "cuda"));
  stub.fail_at("");
}

TEST(a_missing_library_of_a_device_is_named_with_what_brings_it) {
  const Stub stub;
  const std::pair<const char*, const char*> missing[] = {
      {"libnone_cublasLt.so.13", "got no libnone_cublasLt.so.13; install CUDA and cuDNN"},
      {"libnone_nvinfer.so.10", "pip install 'tensorrt-cu13<11'"},
      {"libcuda.so.none", "see whether `nvidia-smi`"},
  };
  for (const auto& [library, told] : missing) {
    stub.need(library);
    CHECK_THROWS_MSG(LibraryError, told, try_onnxruntime_device(Stub::path(), "cuda"));
  }
  stub.need("");
}

// Where pip puts them: site-packages/onnxruntime/capi and site-packages/nvidia/cu99/lib.
TEST(libraries_that_pip_installed_are_found) {
  namespace fs = std::filesystem;
  const ScratchFolder folder;
  const fs::path capi = folder.path() / "onnxruntime" / "capi";
  const fs::path nvidia = folder.path() / "nvidia" / "cu99" / "lib";
  fs::create_directories(capi);
  fs::create_directories(nvidia);
  const std::string library = capi / "libonnxruntime.so.1.99";
  fs::copy_file(Stub::path(), library);
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(handle != nullptr);
  reinterpret_cast<void (*)(const char*)>(dlsym(handle, "stub_need"))("libparley_needed.so.7");
  CHECK_THROWS_MSG(LibraryError, "got no libparley_needed.so.7",
                   try_onnxruntime_device(library, "cuda"));
  folder.write("nvidia/cu99/lib/libparley_needed.so.7", "damaged");
  CHECK_THROWS_MSG(LibraryError, "got no libparley_needed.so.7",
                   try_onnxruntime_device(library, "cuda"));
  fs::copy_file(support::stub("stub_needed"), nvidia / "libparley_needed.so.7",
                fs::copy_options::overwrite_existing);
  try_onnxruntime_device(library, "cuda");
}

TEST(providers_are_added_best_first) {
  const Stub stub;
  stub.devices();
  open_graph(Stub::path(), "any.onnx", {.device = "tensorrt", .threads = 3});
  CHECK_EQ(stub.devices(), 12);  // TensorRT, then CUDA
  open_graph(Stub::path(), "any.onnx", {.device = "cuda", .threads = 1});
  CHECK_EQ(stub.devices(), 2);
  open_graph(Stub::path(), "any.onnx", {});
  CHECK_EQ(stub.devices(), 0);
}

TEST(a_run_allocates_nothing_of_ours) {
  const auto graph = open_graph(Stub::path(), "any.onnx", {});
  CHECK_EQ(check::allocations([&graph] {
             for (int i = 0; i < 100; ++i) run_once(*graph);
           }),
           0);
  CHECK(check::allocations([] { std::string(100, 'x').push_back('y'); }) > 0);
}
