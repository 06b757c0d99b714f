// What the runners' tests share: where data, stubs and vendor libraries are; knows no runner.
#pragma once
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

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

// Whether the environment names a vendor library. Says so where it does not: what a test skips is
// to be seen.
inline bool have(const char* variable, const char* test) {
  const char* path = std::getenv(variable);
  if (path != nullptr && *path != '\0') return true;
  std::printf("SKIP %s: %s is not set to a library's path\n", test, variable);
  return false;
}

}  // namespace support
