// Checks and writes single UTF-8 sequences (RFC 3629); knows no alphabet and no normal form.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace parley::utf8 {

// Bytes of the sequences that begin with `first`; 0 where none do.
constexpr std::size_t length_by(unsigned char first) {
  return first < 0x80   ? 1
         : first < 0xC2 ? 0
         : first < 0xE0 ? 2
         : first < 0xF0 ? 3
         : first < 0xF5 ? 4
                        : 0;
}

// How many bytes at the front of `text` may belong to one sequence: all of one, or of one that is
// cut off, or those before the first wrong one.
constexpr std::size_t matching_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t most = text.empty() ? 0 : std::min(length_by(byte(0)), text.size());
  if (most < 2) return most;
  // The second byte says what is overlong, a surrogate or beyond U+10FFFF.
  const unsigned char first = byte(0);
  const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 1;
  std::size_t n = 2;
  while (n < most && (byte(n) & 0xC0U) == 0x80U) ++n;
  return n;
}

// Bytes of the sequence that `text` begins with; 0 where it is none: overlong, a surrogate, beyond
// U+10FFFF, cut off, or empty.
constexpr std::size_t sequence_length(std::string_view text) {
  const std::size_t n = matching_length(text);
  return n > 0 && n == length_by(static_cast<unsigned char>(text[0])) ? n : 0;
}

// How many bytes at the front of `text` begin a sequence that is not finished there; 0 where none
// do. All of them: more may come. Fewer: they are wrong, and what follows begins anew.
constexpr std::size_t unfinished_length(std::string_view text) {
  return sequence_length(text) > 0 ? 0 : matching_length(text);
}

// `code` is at most U+10FFFF and no surrogate.
inline void append(std::string& out, std::uint32_t code) {
  const auto tail = [&](unsigned shift) {
    out += static_cast<char>(0x80U | ((code >> shift) & 0x3FU));
  };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0U | (code >> 6U));
    tail(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0U | (code >> 12U));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0U | (code >> 18U));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace parley::utf8
