// Adds the execution provider of a device to session options; knows no graph.
#pragma once
#include <string>

#include "runners/ort/library.h"

namespace parley::ort {

// `device`: cpu | cuda | tensorrt (which falls back on CUDA for operators that it lacks). Libraries
// of NVIDIA that pip installed beside ONNX Runtime are found, without LD_LIBRARY_PATH. Throws
// LibraryError where the library has no such provider or cannot start it, InputError for any other
// name.
void add_device(const Library& library, OrtSessionOptions* options, const std::string& device);

// Throws LibraryError: why `device` cannot be used, and what to do.
[[noreturn]] void refuse_device(const Library& library, const std::string& device,
                                const Failure& failure);

}  // namespace parley::ort
