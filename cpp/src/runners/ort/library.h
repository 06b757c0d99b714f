// One opened ONNX Runtime: its functions, its environment and its errors; knows no graph.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runners/dynamic_library.h"
#include "runners/ort/api.h"
#include "runners/ort/custom_ops.h"

namespace parley::ort {

// Owns what the library made; released by the library's own function.
template <typename T>
using Handle = std::unique_ptr<T, void (*)(T*)>;

struct Failure {
  int code = 0;  // 0: success
  std::string message;
};

class Library {
 public:
  // One per process and path, made at the first call and never closed. Throws LibraryError.
  static const Library& open(const std::string& path);

  const Api& api() const { return api_; }
  const Env* env() const { return env_.get(); }
  const MemoryInfo* cpu_memory() const { return cpu_memory_.get(); }
  const std::string& version() const { return version_; }
  const std::string& path() const { return library_.path(); }

  // Adds parley's own operators to a session's options.
  void add_custom_ops(SessionOptions* options) const;
  // Reads and releases a status.
  Failure take(Status* status) const;
  // Throws LibraryError where the status is a failure: for calls that only a bad library refuses.
  void require(Status* status, const char* what) const;
  std::vector<std::string> providers() const;

 private:
  explicit Library(const std::string& path);

  DynamicLibrary library_;
  std::string version_;
  const void* table_ = nullptr;
  Api api_{};
  CustomOpDomain* custom_ops_ = nullptr;
  Handle<Env> env_{nullptr, nullptr};
  Handle<MemoryInfo> cpu_memory_{nullptr, nullptr};
};

// The last warning or error that the library logged on this thread since clear_log().
const char* last_log();
void clear_log();

}  // namespace parley::ort
