// Opens ONNX Runtime once per process and path; knows no graph.
#include "runners/ort/library.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "base/log.h"
#include "parley/errors.hpp"
#include "runners/ort/ort.h"
#include "runners/ort/pool.h"
#include "runners/ort/probe.h"

namespace parley::ort {
namespace {

constexpr const char* kRemedy =
    "install ONNX Runtime 1.29 or later (with pip: `pip install 'onnxruntime>=1.29'`) and point "
    "PARLEY_ONNXRUNTIME at its libonnxruntime.so";

// Per thread, so that the logger needs no lock and no owner.
thread_local char last_log_line[800] = "";

LogLevel level_of(OrtLoggingLevel level) {
  if (level >= ORT_LOGGING_LEVEL_ERROR) return LogLevel::error;
  if (level == ORT_LOGGING_LEVEL_WARNING) return LogLevel::warning;
  return level == ORT_LOGGING_LEVEL_INFO ? LogLevel::info : LogLevel::debug;
}

void ORT_API_CALL keep_log(void*, OrtLoggingLevel level, const char*, const char*, const char*,
                           const char* message) {
  const char* text = message == nullptr ? "" : message;
  std::snprintf(last_log_line, sizeof last_log_line, "%s", text);
  tell(level_of(level), "onnxruntime", text);
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
  const auto get_base = library_.find<decltype(&::OrtGetApiBase)>("OrtGetApiBase");
  const OrtApiBase* base = get_base == nullptr ? nullptr : get_base();
  if (base == nullptr) {
    throw LibraryError("[ort.open] expected ONNX Runtime in '" + path +
                       "', got a library without OrtGetApiBase; " + kRemedy);
  }
  version_ = base->GetVersionString();
  // Asked first: an older library prints to stderr when it is asked for a newer table.
  api_ = api_version(version_) >= kOldestMinor ? base->GetApi(ORT_API_VERSION) : nullptr;
  if (api_ == nullptr) {
    throw LibraryError("[ort.open] expected ONNX Runtime 1." + std::to_string(kOldestMinor) +
                       " or later in '" + path + "', got " + one_line(version_) + "; " + kRemedy);
  }
  OrtMemoryInfo* memory = nullptr;
  require(api_->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory),
          "a description of CPU memory");
  cpu_memory_ = Handle<OrtMemoryInfo>(memory, api_->ReleaseMemoryInfo);
  require(make_custom_ops(*api_, &custom_ops_), "a domain of operators");
}

std::shared_ptr<const Environment> Library::environment(int threads) const {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const Environment> one = environment_.lock();
  if (!one) {
    one = std::make_shared<const Environment>(make_environment(threads));
    environment_ = one;
  }
  return one;
}

void Library::keep(std::shared_ptr<const Environment> environment) const {
  const std::lock_guard lock(mutex_);
  kept_ = std::move(environment);
}

Environment Library::make_environment(int threads) const {
  const Handle<OrtThreadingOptions> pool = shared_pool(*this, threads);
  OrtEnv* raw = nullptr;
  require(api_->CreateEnvWithCustomLoggerAndGlobalThreadPools(
              keep_log, nullptr, ORT_LOGGING_LEVEL_WARNING, "parley", pool.get(), &raw),
          "an environment");
  Environment made{Handle<OrtEnv>(raw, api_->ReleaseEnv), threads};
  if (!has_shared_pool(*this, raw)) made.threads = 0;
  return made;
}

void Library::add_custom_ops(OrtSessionOptions* options) const {
  require(api_->AddCustomOpDomain(options, custom_ops_), "to take parley's operators");
}

Failure Library::take(OrtStatus* status) const {
  if (status == nullptr) return {};
  Failure failure{api_->GetErrorCode(status), one_line(api_->GetErrorMessage(status))};
  api_->ReleaseStatus(status);
  if (failure.code == 0) failure.code = -1;  // a status is a failure whatever its code
  if (failure.message.empty()) failure.message = one_line(last_log());
  return failure;
}

void Library::require(OrtStatus* status, const char* what) const {
  const Failure failure = take(status);
  if (failure.code == 0) return;
  refuse_no_memory("[ort.open] ", what, failure.message);
  throw LibraryError("[ort.open] expected " + std::string(what) + " from ONNX Runtime " + version_ +
                     ", got '" + failure.message + "'; " + kRemedy);
}

std::vector<std::string> Library::providers() const {
  char** names = nullptr;
  int count = 0;
  require(api_->GetAvailableProviders(&names, &count), "a list of providers");
  std::vector<std::string> list(names, names + count);
  require(api_->ReleaseAvailableProviders(names, count), "to give back the list of providers");
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
