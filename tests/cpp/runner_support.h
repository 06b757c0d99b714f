// What the runners' tests share: where data, stubs and vendor libraries are; knows no runner.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "check.h"

namespace support {

inline std::filesystem::path data(const std::string& name) {
  return std::filesystem::path(__FILE__).parent_path() / "data" / name;
}

// A stub library of tests/cpp/stubs; CMake puts them beside the tests.
inline std::string stub(const std::string& name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / (name + ".so")).string();
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Skips a test where the environment does not name its vendor library.
inline void need(const char* variable) {
  const char* path = std::getenv(variable);
  if (path != nullptr && *path != '\0') return;
  throw check::Skip{std::string(variable) + " is not set to a library's path"};
}

}  // namespace support
