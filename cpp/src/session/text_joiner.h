// Joins pieces of text, which may end inside a character, to whole ones; knows no token.
#pragma once
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace parley {

// A value, so that a step works on a copy.
class TextJoiner {
 public:
  // Appends to `out` the characters that `piece` completes; U+FFFD for what is no UTF-8.
  void add(std::string_view piece, std::string& out) {
    waiting_ += piece;
    std::size_t at = 0;
    while (at < waiting_.size()) {
      const std::string_view rest = std::string_view(waiting_).substr(at);
      std::size_t n = utf8::sequence_length(rest);
      if (n > 0) {
        out += rest.substr(0, n);
      } else {
        n = utf8::unfinished_length(rest);
        if (n == rest.size()) break;
        out += kReplacement;
      }
      at += std::max<std::size_t>(n, 1);
    }
    waiting_.erase(0, at);
  }
  // U+FFFD where a character was left unfinished; starts anew.
  void finish(std::string& out) {
    if (!waiting_.empty()) out += kReplacement;
    waiting_.clear();
  }
  const std::string& waiting() const { return waiting_; }  // three bytes at the most

 private:
  static constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  std::string waiting_;
};

}  // namespace parley
