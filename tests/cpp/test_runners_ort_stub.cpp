// The ONNX Runtime runner against stub libraries: versions, failures of any call, and allocations.
#include <dlfcn.h>

#include "check.h"
#include "count_allocations.h"
#include "parley/errors.h"
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
  int threads() const { return call<int()>("stub_threads")(); }
  void fail_at(int slot) const { call<void(int)>("stub_fail_at")(slot); }

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
  if (y[2] != 3.0F) throw std::runtime_error("the stub's graph copies its input");
}

// Opens a graph on every device and runs it; throws what the runner throws.
void use_everything() {
  for (const char* device : {"tensorrt", "cuda", "cpu"}) {
    run_once(*open_graph(Stub::path(), "any.onnx", {.device = device, .threads = 3}));
  }
  onnxruntime_providers(Stub::path());
}

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
  CHECK_THROWS_MSG(LibraryError, "got 1.20.3; do `pip install 'onnxruntime>=1.29'`",
                   open_graph(old, "any.onnx", {}));
}

// Before this file's other uses of the stub, so that the environment's own calls fail too.
TEST(any_failing_call_gives_one_error_and_leaks_nothing) {
  const Stub stub;
  const int slots[] = {4, 69, 26, 27, 28, 10, 13, 22, 23, 24, 25, 130, 170, 171, 172, 204, 205, 206,
                       7, 30, 31, 36, 37, 78, 76, 33, 34, 55, 60, 61,  62,  49,  9,   125, 126};
  long before = 0;
  for (int slot : slots) {
    stub.fail_at(slot);
    try {
      use_everything();
      check::fail(__FILE__, __LINE__, "slot " + std::to_string(slot) + " failed unnoticed");
    } catch (const Error& error) {
      const std::string text = error.what();
      if (text.find("the stub fails") == std::string::npos) {
        check::fail(__FILE__, __LINE__, "slot " + std::to_string(slot) + ": " + text);
      }
    }
    stub.fail_at(-1);
    // From the first success on, environment, memory description and operators' domain stay.
    const bool opened = slot != 4 && slot != 69 && slot != 26 && slot != 27;
    const long expected = opened ? 3 : 0;
    CHECK_EQ(stub.live(), expected);
    before = stub.live();
  }
  use_everything();
  CHECK_EQ(stub.live(), before);
}

TEST(a_device_that_cannot_start_is_a_library_error) {
  const Stub stub;
  onnxruntime_version(Stub::path());
  for (int slot : {204, 7}) {
    stub.fail_at(slot);
    CHECK_THROWS_MSG(LibraryError, "pip install onnxruntime-gpu",
                     open_graph(Stub::path(), "any.onnx", {.device = "cuda"}));
    stub.fail_at(-1);
  }
}

TEST(providers_are_added_best_first_and_threads_are_passed) {
  const Stub stub;
  stub.devices();
  open_graph(Stub::path(), "any.onnx", {.device = "tensorrt", .threads = 3});
  CHECK_EQ(stub.devices(), 12);  // TensorRT, then CUDA
  CHECK_EQ(stub.threads(), 3);
  open_graph(Stub::path(), "any.onnx", {.device = "cuda", .threads = 1});
  CHECK_EQ(stub.devices(), 2);
  open_graph(Stub::path(), "any.onnx", {});
  CHECK_EQ(stub.devices(), 0);
  CHECK(stub.threads() > 0);
}

TEST(a_run_allocates_nothing_of_ours) {
  const auto graph = open_graph(Stub::path(), "any.onnx", {});
  CHECK_EQ(check::allocations([&graph] {
             for (int i = 0; i < 100; ++i) run_once(*graph);
           }),
           0);
  CHECK(check::allocations([] { std::string(100, 'x').push_back('y'); }) > 0);
}
