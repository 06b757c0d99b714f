// Values to bytes and back, for states that are saved; knows no state and opens no file.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "parley/errors.hpp"

namespace parley {

// As good as its bytes. A bool is not: any byte but 0 and 1 would be none; see put_flag().
template <typename T>
concept PlainBytes = std::is_trivially_copyable_v<T> && !std::is_same_v<T, bool>;

// In this machine's byte order: what is saved is taken up by the same build.
class ByteWriter {
 public:
  template <PlainBytes T>
  void put(const T& value) {
    append(&value, sizeof(T));
  }
  // Their number, then the values.
  template <PlainBytes T>
  void put_all(std::span<const T> values) {
    put(static_cast<std::uint64_t>(values.size()));
    append(values.data(), values.size_bytes());
  }

  template <PlainBytes T>
  void put_all(const std::vector<T>& values) {
    put_all(std::span<const T>(values));
  }
  void put_flag(bool flag) { put(static_cast<std::uint8_t>(flag)); }
  void put_text(std::string_view text) { put_all(std::span<const char>(text)); }

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

  template <PlainBytes T>
  T get() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  template <PlainBytes T>
  void get_all(std::span<T> values) {
    const auto n = get<std::uint64_t>();
    if (n != values.size()) refuse(std::to_string(values.size()) + " values", std::to_string(n));
    const auto from = take(values.size_bytes());
    if (!from.empty()) std::memcpy(values.data(), from.data(), from.size());
  }
  // At most `most` values.
  template <PlainBytes T>
  std::vector<T> get_some(std::size_t most) {
    const auto n = get<std::uint64_t>();
    if (n > most) refuse("at most " + std::to_string(most) + " values", std::to_string(n));
    std::vector<T> values(static_cast<std::size_t>(n));
    const auto from = take(values.size() * sizeof(T));
    if (!from.empty()) std::memcpy(values.data(), from.data(), from.size());
    return values;
  }

  bool get_flag() {
    const auto flag = get<std::uint8_t>();
    require(flag <= 1, "a flag");
    return flag == 1;
  }
  std::string get_text(std::size_t most) {
    const std::vector<char> chars = get_some<char>(most);
    return {chars.begin(), chars.end()};
  }
  // What was read makes no sense to its reader, where not `good`.
  static void require(bool good, const char* expected) {
    if (!good) refuse(expected, "what makes none");
  }

  // Of a count or a place in a stream: more than any stream reaches, and far from overflow.
  static constexpr std::int64_t kMostCounted = std::int64_t{1} << 40U;

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
