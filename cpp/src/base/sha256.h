// SHA-256 of a stream of bytes; source: FIPS 180-4. Knows no file.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace parley {

class Sha256 {
 public:
  enum class Code : std::uint8_t { fastest, portable };  // fastest: the CPU's SHA extensions

  explicit Sha256(Code code = Code::fastest);
  void update(std::span<const std::byte> bytes);
  // Ends the stream: 64 lower-case hex digits. Nothing may follow.
  std::string hex();
  // Whether this CPU has SHA extensions that the code can use.
  static bool has_extensions();

 private:
  using Compress = void (*)(std::uint32_t* state, const std::byte* blocks, std::size_t n_blocks);
  Compress compress_;
  std::array<std::uint32_t, 8> state_;
  std::array<std::byte, 64> rest_{};  // the first bytes of an unfinished block
  std::uint64_t n_bytes_ = 0;
};

inline std::string sha256_of(std::span<const std::byte> bytes) {
  Sha256 sha;
  sha.update(bytes);
  return sha.hex();
}

}  // namespace parley
