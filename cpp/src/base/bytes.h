// Values to bytes and back, for states that are saved; knows no state and opens no file.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "parley/errors.h"

namespace parley {

// In this machine's byte order: what is saved is taken up by the same build.
class ByteWriter {
 public:
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void put(const T& value) {
    append(&value, sizeof(T));
  }
  // Their number, then the values.
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void put_all(std::span<const T> values) {
    put(static_cast<std::uint64_t>(values.size()));
    append(values.data(), values.size_bytes());
  }

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  void append(const void* data, std::size_t n) {
    const auto* from = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), from, from + n);
  }

  std::vector<std::byte> bytes_;
};

// Reads what a ByteWriter wrote, in the same order. Throws InputError where there is less, or other
// numbers of values than the reader has room for.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
    requires std::is_trivially_copyable_v<T>
  T get() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void get_all(std::span<T> values) {
    const auto n = get<std::uint64_t>();
    if (n != values.size()) refuse(std::to_string(values.size()) + " values", std::to_string(n));
    const auto from = take(values.size_bytes());
    if (!from.empty()) std::memcpy(values.data(), from.data(), from.size());
  }
  // At most `most` values.
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  std::vector<T> get_some(std::size_t most) {
    const auto n = get<std::uint64_t>();
    if (n > most) refuse("at most " + std::to_string(most) + " values", std::to_string(n));
    std::vector<T> values(static_cast<std::size_t>(n));
    const auto from = take(values.size() * sizeof(T));
    if (!from.empty()) std::memcpy(values.data(), from.data(), from.size());
    return values;
  }

  std::size_t left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> take(std::size_t n) {
    if (n > bytes_.size()) refuse(std::to_string(n) + " more bytes", std::to_string(bytes_.size()));
    const auto taken = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return taken;
  }
  [[noreturn]] static void refuse(const std::string& expected, const std::string& got) {
    throw InputError("[state.load] expected " + expected + " in what was saved, got " + got +
                     "; take up what this parley saved of the same bundle");
  }

  std::span<const std::byte> bytes_;
};

}  // namespace parley
