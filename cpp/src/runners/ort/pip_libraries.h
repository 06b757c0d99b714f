// Shared libraries that pip installed beside ONNX Runtime; knows no provider.
#pragma once
#include <filesystem>
#include <string>

namespace parley::ort {

// The library that the loader did not find, by its message: "libx.so.1: cannot open shared object
// file: ..." gives "libx.so.1"; empty where it says something else.
std::string missing_library(const std::string& message);

// Loads the library called `name` from the folders where NVIDIA's pip packages put theirs
// (nvidia/*/lib, tensorrt_libs), with what it needs itself. `onnxruntime` is the library of the
// onnxruntime package beside them. Whoever asks the loader for `name` after that gets it. False
// where it lies in none of them or cannot be loaded.
bool load_from_pip(const std::filesystem::path& onnxruntime, const std::string& name);

}  // namespace parley::ort
