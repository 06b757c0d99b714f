// One opened ONNX Runtime: its functions, its environment and its errors; knows no graph.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runners/dynamic_library.h"
#include "runners/ort/api.h"
#include "runners/ort/custom_ops.h"

namespace parley::ort {

struct Failure {
  int code = 0;  // 0: success
  std::string message;
};

// ONNX Runtime's environment, one in a process, with the pool of threads that graphs share.
struct Environment {
  Handle<OrtEnv> env;
  int threads;  // of the pool, the calling thread included; 0: the program made it, without a pool
};

class Library {
 public:
  // One per process and path, made at the first call and never closed. Throws LibraryError.
  static const Library& open(const std::string& path);

  const OrtApi& api() const { return *api_; }
  const OrtMemoryInfo* cpu_memory() const { return cpu_memory_.get(); }
  const std::string& version() const { return version_; }
  const std::string& path() const { return library_.path(); }
  // Where the file lies, whatever name it was opened by.
  std::string file() const { return library_.file_of("OrtGetApiBase"); }

  // The one that is in use, else a new one with a pool of `threads`. It goes with its last owner,
  // and its threads with it.
  std::shared_ptr<const Environment> environment(int threads) const;
  // An environment that loaded a GPU's libraries stays: they are not made to be loaded twice.
  void keep(std::shared_ptr<const Environment> environment) const;
  // Adds parley's own operators to a session's options.
  void add_custom_ops(OrtSessionOptions* options) const;
  // Reads and releases a status.
  Failure take(OrtStatus* status) const;
  // Throws LibraryError where the status is a failure: for calls that only a bad library refuses.
  void require(OrtStatus* status, const char* what) const;
  std::vector<std::string> providers() const;

 private:
  explicit Library(const std::string& path);
  Environment make_environment(int threads) const;

  DynamicLibrary library_;
  std::string version_;
  const OrtApi* api_ = nullptr;
  OrtCustomOpDomain* custom_ops_ = nullptr;
  Handle<OrtMemoryInfo> cpu_memory_{nullptr, nullptr};
  mutable std::mutex mutex_;
  mutable std::weak_ptr<const Environment> environment_;
  mutable std::shared_ptr<const Environment> kept_;
};

// The last warning or error that the library logged on this thread since clear_log().
const char* last_log();
void clear_log();

}  // namespace parley::ort
