// Opens shared libraries with the POSIX loader; knows no vendor.
#include "runners/dynamic_library.h"

#include <dlfcn.h>

#include <cctype>
#include <cstdlib>
#include <exception>

#include "parley/errors.hpp"

namespace parley {

std::string library_path(const std::string& given, const char* variable, const char* loader_name) {
  if (!given.empty()) return given;
  const char* from_environment = std::getenv(variable);
  if (from_environment != nullptr && *from_environment != '\0') return from_environment;
  return loader_name;
}

std::string one_line(std::string_view text) {
  constexpr std::size_t kMost = 800;
  std::string line;
  for (char c : text) {
    const bool space = std::iscntrl(static_cast<unsigned char>(c)) != 0 || c == ' ';
    if (!space) {
      line += c;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
    if (line.size() == kMost) return line + "...";
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

std::optional<int> ask_library(const std::string& path, const char* symbol) {
  void* handle = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) return std::nullopt;
  const auto function = reinterpret_cast<int (*)()>(dlsym(handle, symbol));
  std::optional<int> answer;
  if (function != nullptr) answer = function();
  dlclose(handle);
  return answer;
}

void refuse_no_memory(const std::string& where, const std::string& what, std::string_view message) {
  // As libstdc++, glibc, ONNX Runtime and ggml word it.
  for (const char* words :
       {"bad_alloc", "llocate memory", "failed to allocate", "Failed to allocate", "AllocateRaw",
        "insufficient memory", "out of memory", "failed to map segment", "mmap failed",
        "PosixThread", "pthread_create", "Resource temporarily unavailable"}) {
    if (message.find(words) == std::string_view::npos) continue;
    throw MemoryError(where + "expected memory and threads for " + what + ", got '" +
                      one_line(message) + "'; close other programs, raise `ulimit -v` or -u, or " +
                      "take fewer threads or a smaller bundle");
  }
}

DynamicLibrary::DynamicLibrary(const std::string& path, const std::string& remedy) : path_(path) {
  // ggml takes this handler, the program's, when it is loaded.
  const std::terminate_handler terminate = std::get_terminate();
  // RTLD_LOCAL: two copies of a vendor's symbols in one process must not mix.
  handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  std::set_terminate(terminate);
  if (handle_ == nullptr) {
    const char* reason = dlerror();
    refuse_no_memory("[runners.open] ", "'" + path + "'", reason == nullptr ? "" : reason);
    throw LibraryError("[runners.open] expected a shared library at '" + path + "', got '" +
                       one_line(reason == nullptr ? "no reason" : reason) + "'; " + remedy);
  }
}

void* DynamicLibrary::address(const char* symbol) const {
  return dlsym(handle_, symbol);
}

std::string DynamicLibrary::file_of(const char* symbol) const {
  Dl_info info{};
  void* found = address(symbol);
  if (found == nullptr || dladdr(found, &info) == 0 || info.dli_fname == nullptr) return "";
  return info.dli_fname;
}

}  // namespace parley
