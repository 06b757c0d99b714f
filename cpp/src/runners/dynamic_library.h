// A shared library opened at run time; knows the loader and no vendor.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace parley {

// Which file to open: `given`, else the environment variable, else the name that the loader looks
// up in its own folders.
std::string library_path(const std::string& given, const char* variable, const char* loader_name);

// One line of at most 800 bytes: vendor messages carry line ends and traces.
std::string one_line(std::string_view text);

// Throws MemoryError where a vendor's message says that memory or threads were refused; `where` is
// the error's "[room.verb] ", `what` that for which they were wanted.
void refuse_no_memory(const std::string& where, const std::string& what, std::string_view message);

// What the library's function `symbol`, without arguments, answers. The library is closed again.
// Nothing where it cannot be opened or has no such function.
std::optional<int> ask_library(const std::string& path, const char* symbol);

// Stays open until the process ends: a vendor's threads may outlive every object of ours.
class DynamicLibrary {
 public:
  // Throws LibraryError; `remedy` is what the user can do, such as "`pip install onnxruntime`".
  DynamicLibrary(const std::string& path, const std::string& remedy);

  const std::string& path() const { return path_; }

  // Null where the library, and those it depends on, have no such symbol.
  template <typename Function>
  Function find(const char* symbol) const {
    return reinterpret_cast<Function>(address(symbol));
  }

  // The file that `symbol` was loaded from; empty where there is none.
  std::string file_of(const char* symbol) const;

 private:
  void* address(const char* symbol) const;

  std::string path_;
  void* handle_ = nullptr;
};

}  // namespace parley
