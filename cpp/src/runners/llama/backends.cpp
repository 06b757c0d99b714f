// Finds ggml's files beside libllama and lets each say how well it fits this processor.
#include "runners/llama/backends.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "runners/dynamic_library.h"

namespace parley::llama {
namespace {

constexpr const char* kAny = "libggml-";
constexpr const char* kCpu = "libggml-cpu";
constexpr const char* kOnlyCpu = "libggml-cpu.so";
constexpr const char* kBase = "libggml-base";

bool starts(const std::string& file, const char* with) {
  const std::filesystem::path path(file);
  return path.extension() == ".so" && path.filename().string().rfind(with, 0) == 0;
}

std::vector<std::string> files_of(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (starts(entry->path().string(), kAny)) files.push_back(entry->path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::string folder_of(const std::string& file) {
  const std::filesystem::path folder = std::filesystem::path(file).parent_path();
  return folder.empty() ? "." : folder.string();
}

bool is_variant(const std::string& file) {
  return starts(file, kCpu);
}

std::string library_beside(const std::string& variant) {
  return (std::filesystem::path(folder_of(variant)) / "libllama.so").string();
}

std::vector<std::string> variants(const std::string& folder) {
  std::vector<std::pair<int, std::string>> scored;
  for (const std::string& file : files_of(folder)) {
    if (!is_variant(file)) continue;
    // The only one needs no score, and then has none.
    const int unscored = starts(file, kOnlyCpu) ? 1 : 0;
    const int score = ask_library(file, "ggml_backend_score").value_or(unscored);
    if (score > 0) scored.emplace_back(score, file);
  }
  std::sort(scored.begin(), scored.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::vector<std::string> files;
  for (const auto& [score, file] : scored) files.push_back(file);
  return files;
}

std::vector<std::string> backends(const std::string& folder) {
  std::vector<std::string> files = files_of(folder);
  std::erase_if(files,
                [](const std::string& file) { return is_variant(file) || starts(file, kBase); });
  return files;
}

}  // namespace parley::llama
