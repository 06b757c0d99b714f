// Shared libraries that pip installed beside ONNX Runtime; knows no provider.
#include "runners/ort/pip_libraries.h"

#include <dlfcn.h>

#include <vector>

namespace parley::ort {
namespace {

namespace fs = std::filesystem;

// .../site-packages/onnxruntime/capi/libonnxruntime.so.1: the packages lie in .../site-packages.
std::vector<fs::path> folders(const fs::path& onnxruntime) {
  const fs::path packages = onnxruntime.parent_path().parent_path().parent_path();
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(packages / "nvidia", error), end; !error && entry != end;
       entry.increment(error))
    found.push_back(entry->path() / "lib");
  found.push_back(packages / "tensorrt_libs");
  return found;
}

// `depth` ends a circle of libraries that need each other and do not load.
bool load(const std::vector<fs::path>& folders, const std::string& name, int depth) {
  std::error_code error;
  for (const fs::path& folder : folders) {
    const fs::path file = folder / name;
    if (!fs::exists(file, error)) continue;
    while (dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
      const char* reason = dlerror();
      const std::string needed = missing_library(reason == nullptr ? "" : reason);
      if (needed.empty() || depth == 0 || !load(folders, needed, depth - 1)) return false;
    }
    return true;
  }
  return false;
}

}  // namespace

std::string missing_library(const std::string& message) {
  const std::size_t end = message.find(": cannot open shared object file");
  if (end == std::string::npos) return "";
  const std::size_t before = message.find_last_of(" /'\"", end);
  const std::size_t begin = before == std::string::npos ? 0 : before + 1;
  return message.substr(begin, end - begin);
}

bool load_from_pip(const fs::path& onnxruntime, const std::string& name) {
  constexpr int kDepth = 8;
  return !name.empty() && load(folders(onnxruntime), name, kDepth);
}

}  // namespace parley::ort
