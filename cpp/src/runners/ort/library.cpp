// Opens ONNX Runtime once per process and path; knows no graph.
#include "runners/ort/library.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "parley/errors.h"
#include "runners/ort/ort.h"

namespace parley::ort {
namespace {

constexpr const char* kRemedy =
    "`pip install 'onnxruntime>=1.29'` and point PARLEY_ONNXRUNTIME at its "
    "capi/libonnxruntime.so.*";

// Per thread, so that the logger needs no lock and no owner.
thread_local char last_log_line[400] = "";

void keep_log(void*, int, const char*, const char*, const char*, const char* message) {
  std::snprintf(last_log_line, sizeof last_log_line, "%s", message == nullptr ? "" : message);
}

// "1.31.1" -> 31. The minor version is the API version; 0 where the text is of another form.
unsigned long api_version(const std::string& version) {
  if (version.rfind("1.", 0) != 0) return 0;
  return std::strtoul(version.c_str() + 2, nullptr, 10);
}

}  // namespace

const char* last_log() {
  return last_log_line;
}
void clear_log() {
  last_log_line[0] = '\0';
}

const Library& Library::open(const std::string& path) {
  // Never destroyed: sessions and the library's own threads may live until the process ends.
  static auto& mutex = *new std::mutex;
  static auto& opened = *new std::map<std::string, std::unique_ptr<const Library>>;
  const std::string file = library_path(path, "PARLEY_ONNXRUNTIME", "libonnxruntime.so.1");
  const std::lock_guard lock(mutex);
  auto& entry = opened[file];
  if (!entry) entry.reset(new Library(file));
  return *entry;
}

Library::Library(const std::string& path) : library_(path, kRemedy) {
  const auto get_base = library_.find<GetApiBase>("OrtGetApiBase");
  const ApiBase* base = get_base == nullptr ? nullptr : get_base();
  if (base == nullptr) {
    throw LibraryError("[ort.open] expected ONNX Runtime in '" + path +
                       "', got a library without OrtGetApiBase; do " + kRemedy);
  }
  version_ = base->version_string();
  // Asked first: an older library prints to stderr when it is asked for a newer table.
  const bool new_enough = api_version(version_) >= kApiVersion;
  table_ = new_enough ? base->get_api(kApiVersion) : nullptr;
  if (table_ == nullptr) {
    throw LibraryError("[ort.open] expected ONNX Runtime 1." + std::to_string(kApiVersion) +
                       " or later in '" + path + "', got " + one_line(version_) + "; do " +
                       kRemedy);
  }
  api_ = read_api(table_);
  Env* env = nullptr;
  require(api_.create_env(keep_log, nullptr, kWarning, "parley", &env), "an environment");
  env_ = Handle<Env>(env, api_.release_env);
  MemoryInfo* memory = nullptr;
  require(api_.create_cpu_memory_info(kDeviceAllocator, kDefaultMemory, &memory),
          "a description of CPU memory");
  cpu_memory_ = Handle<MemoryInfo>(memory, api_.release_memory_info);
  require(make_custom_ops(table_, &custom_ops_), "a domain of operators");
}

void Library::add_custom_ops(SessionOptions* options) const {
  require(ort::add_custom_ops(table_, options, custom_ops_), "to take parley's operators");
}

Failure Library::take(Status* status) const {
  if (status == nullptr) return {};
  Failure failure{api_.get_error_code(status), one_line(api_.get_error_message(status))};
  api_.release_status(status);
  if (failure.code == 0) failure.code = -1;  // a status is a failure whatever its code
  if (failure.message.empty()) failure.message = one_line(last_log());
  return failure;
}

void Library::require(Status* status, const char* what) const {
  const Failure failure = take(status);
  if (failure.code == 0) return;
  throw LibraryError("[ort.open] expected " + std::string(what) + " from ONNX Runtime " + version_ +
                     ", got '" + failure.message + "'; do " + kRemedy);
}

std::vector<std::string> Library::providers() const {
  char** names = nullptr;
  int count = 0;
  require(api_.available_providers(&names, &count), "a list of providers");
  std::vector<std::string> list(names, names + count);
  require(api_.release_providers(names, count), "to give back the list of providers");
  return list;
}

}  // namespace parley::ort

namespace parley {

std::string onnxruntime_version(const std::string& library) {
  return ort::Library::open(library).version();
}

std::vector<std::string> onnxruntime_providers(const std::string& library) {
  return ort::Library::open(library).providers();
}

}  // namespace parley
