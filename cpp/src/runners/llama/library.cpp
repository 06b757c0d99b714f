// Opens llama.cpp once per process and path, and only the version it was compiled for.
#include "runners/llama/library.h"

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>

#include "base/log.h"
#include "parley/errors.hpp"
#include "runners/llama/backends.h"
#include "runners/llama/model.h"

namespace parley::llama {
namespace {

const std::string kRemedy =
    std::string("install parley-llama ") + kPackage +
    " (`pip install ./third_party/llama` in parley's sources), or point PARLEY_LLAMA at the " +
    "libllama.so of any llama.cpp " + kLlamaVersion + " with ggml " + kGgmlVersion +
    ", such as llama-cpp-python " + kPackage + "'s";

// Per thread, so that the logger needs no lock and no owner.
thread_local char last_log_line[800] = "";
thread_local bool last_log_is_error = false;

LogLevel level_of(ggml_log_level level) {
  if (level == GGML_LOG_LEVEL_ERROR) return LogLevel::error;
  if (level == GGML_LOG_LEVEL_WARN) return LogLevel::warning;
  return level == GGML_LOG_LEVEL_INFO ? LogLevel::info : LogLevel::debug;
}

void keep_log(ggml_log_level level, const char* text, void*) {
  if (text == nullptr) return;
  tell(level_of(level), "llama", text);
  const bool is_error = level == GGML_LOG_LEVEL_ERROR;
  if (!is_error && level != GGML_LOG_LEVEL_WARN) return;
  // The first error names the cause; later ones only say that loading failed.
  if (last_log_is_error) return;
  std::snprintf(last_log_line, sizeof last_log_line, "%s", text);
  last_log_is_error = is_error;
}

// "llama_cpp_python-0.3.37.dist-info" beside the package that holds the library -> "0.3.37". Empty
// where the library was not installed by pip.
std::string package_version(const std::filesystem::path& library) {
  constexpr const char* kPrefix = "llama_cpp_python-";
  std::error_code error;
  const auto site = library.parent_path().parent_path().parent_path();
  for (std::filesystem::directory_iterator entry(site, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (entry->path().extension() == ".dist-info" && name.rfind(kPrefix, 0) == 0) {
      return entry->path().stem().string().substr(std::strlen(kPrefix));
    }
  }
  return "";
}

}  // namespace

const char* last_log() {
  return last_log_line;
}
void clear_log() {
  last_log_line[0] = '\0';
  last_log_is_error = false;
}

const Library& Library::open(const std::string& path) {
  // Never destroyed: contexts and OpenMP's threads may live until the process ends.
  static auto& mutex = *new std::mutex;
  static auto& opened = *new std::map<std::string, std::unique_ptr<const Library>>;
  const std::string file = library_path(path, "PARLEY_LLAMA", "libllama.so");
  const std::string variant = is_variant(file) ? file : "";
  const std::string library = variant.empty() ? file : library_beside(file);
  const std::lock_guard lock(mutex);
  auto& entry = opened[library];
  if (!entry) entry.reset(new Library(library, variant));
  if (!variant.empty() && entry->variant() != variant) {
    throw LibraryError("[llama.open] expected '" + entry->variant() +
                       "', which this process has opened already, got '" + variant +
                       "'; take one of them in each process");
  }
  return *entry;
}

Library::Library(const std::string& path, const std::string& variant) : library_(path, kRemedy) {
  check_versions();
  find_functions();
  check_structs();
  const Listening listening(*this);
  functions_.llama_backend_init();
  load_backends(variant);
}

void Library::load_backends(const std::string& variant) {
  const auto devices = library_.find<decltype(&::ggml_backend_dev_count)>("ggml_backend_dev_count");
  const auto load = library_.find<decltype(&::ggml_backend_load)>("ggml_backend_load");
  if (devices == nullptr || load == nullptr || devices() > 0) return;  // they are linked in
  const std::string folder = folder_of(library_.file_of("llama_version"));
  for (const std::string& file : backends(folder)) load(file.c_str());
  const auto found = variant.empty() ? variants(folder) : std::vector<std::string>{variant};
  if (!found.empty() && load(found.front().c_str()) != nullptr) variant_ = found.front();
  if (!variant_.empty()) return;
  throw LibraryError("[llama.open] expected code for this processor in " +
                     (variant.empty() ? "a libggml-cpu-*.so beside '" + path() : "'" + variant) +
                     "', got none that it can run; " + kRemedy);
}

void Library::listen() const {
  const std::lock_guard lock(mutex_);
  if (listeners_++ > 0) return;
  functions_.llama_log_get(&llama_logger_.call, &llama_logger_.data);
  functions_.ggml_log_get(&ggml_logger_.call, &ggml_logger_.data);
  functions_.llama_log_set(keep_log, nullptr);  // ggml's with it
}

void Library::stop_listening() const noexcept {
  const std::lock_guard lock(mutex_);
  if (--listeners_ > 0) return;
  Logger now;
  functions_.llama_log_get(&now.call, &now.data);
  if (now.call == keep_log) functions_.llama_log_set(llama_logger_.call, llama_logger_.data);
  functions_.ggml_log_get(&now.call, &now.data);
  const bool ours = now.call == keep_log || now.call == llama_logger_.call;
  if (ours) functions_.ggml_log_set(ggml_logger_.call, ggml_logger_.data);
}

void Library::check_versions() {
  const auto llama = library_.find<decltype(&::llama_version)>("llama_version");
  const auto ggml = library_.find<decltype(&::ggml_version)>("ggml_version");
  const std::string package = package_version(library_.file_of("llama_version"));
  version_ = llama == nullptr ? "a library without llama_version" : one_line(llama());
  const std::string ggml_found = ggml == nullptr ? "none" : one_line(ggml());
  const bool same = version_ == kLlamaVersion && ggml_found == kGgmlVersion &&
                    (package.empty() || package == kPackage);
  if (same) return;
  throw LibraryError(std::string("[llama.open] expected llama.cpp ") + kLlamaVersion +
                     " with ggml " + kGgmlVersion + " (llama-cpp-python " + kPackage + ") in '" +
                     path() + "', got " + version_ + " with ggml " + ggml_found +
                     (package.empty() ? "" : " (llama-cpp-python " + package + ")") + "; " +
                     kRemedy);
}

void Library::find_functions() {
  std::string missing;
#define PARLEY_LLAMA_FIND(name)                                      \
  functions_.name = library_.find<decltype(functions_.name)>(#name); \
  if (functions_.name == nullptr && missing.empty()) missing = #name;
  PARLEY_LLAMA_FUNCTIONS(PARLEY_LLAMA_FIND)
#undef PARLEY_LLAMA_FIND
  if (missing.empty()) return;
  throw LibraryError(std::string("[llama.open] expected llama.cpp ") + kLlamaVersion + " in '" +
                     path() + "', got a library without " + missing + "; " + kRemedy);
}

// Versions that end in "-dev" may differ in their structs all the same: known defaults must be
// found where the headers say.
void Library::check_structs() const {
  const llama_context_params context = functions_.llama_context_default_params();
  const llama_model_params model = functions_.llama_model_default_params();
  const ggml_type_traits* q8_0 = functions_.ggml_get_type_traits(GGML_TYPE_Q8_0);
  const bool context_good = context.n_ctx == 512 && context.n_ubatch == 512 &&
                            context.n_seq_max == 1 && context.type_k == GGML_TYPE_F16 &&
                            context.type_v == GGML_TYPE_F16 && context.abort_callback == nullptr &&
                            context.samplers == nullptr && context.n_samplers == 0 &&
                            context.ctx_other == nullptr;
  const bool model_good = model.devices == nullptr && model.split_mode == LLAMA_SPLIT_MODE_LAYER &&
                          model.main_gpu == 0 && model.progress_callback == nullptr &&
                          model.kv_overrides == nullptr && !model.vocab_only;
  const bool traits_good = q8_0 != nullptr && q8_0->blck_size == 32 && q8_0->type_size == 34 &&
                           q8_0->to_float != nullptr;
  if (context_good && model_good && traits_good) return;
  throw LibraryError(std::string("[llama.open] expected the structs of llama-cpp-python ") +
                     kPackage + " in '" + path() + "', got others under the same version; " +
                     kRemedy);
}

}  // namespace parley::llama

namespace parley {

std::string llama_version_of(const std::string& library) {
  return llama::Library::open(library).version();
}

std::string llama_variant_of(const std::string& library) {
  return llama::Library::open(library).variant();
}

std::vector<std::string> llama_variants(const std::string& library) {
  return llama::variants(llama::folder_of(library));
}

bool llama_has_gpu(const std::string& library) {
  return llama::Library::open(library).functions().llama_supports_gpu_offload();
}

}  // namespace parley
