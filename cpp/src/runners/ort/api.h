// ONNX Runtime's C interface: its header, and which libraries are accepted; knows no library.
#pragma once
#include <onnxruntime_c_api.h>

#include <cstdint>
#include <memory>

namespace parley::ort {

// The oldest library that parley is tested with, 1.29. The header may be older: the library is
// asked for the header's table, which every later one has too.
constexpr std::uint32_t kOldestMinor = 29;
static_assert(ORT_API_VERSION <= kOldestMinor);

// Owns what the library made; released by the library's own function.
template <typename T>
using Handle = std::unique_ptr<T, void (*)(T*)>;

}  // namespace parley::ort
