// Adds the execution provider of a device to session options; knows no graph.
#pragma once
#include <string>

#include "runners/ort/library.h"

namespace parley::ort {

// `device`: cpu | cuda | tensorrt (which falls back on CUDA for operators that it lacks). Throws
// LibraryError where the library has no such provider or cannot start it, InputError for any other
// name.
void add_device(const Library& library, SessionOptions* options, const std::string& device,
                bool deterministic);

// What a user does to get `device`.
std::string device_remedy(const std::string& device);

}  // namespace parley::ort
