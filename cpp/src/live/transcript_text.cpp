// Words of a transcript; ASCII letters are folded, other bytes are compared as they are.
#include "live/transcript_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

namespace parley::live {

namespace {

// What listeners say in the languages of the families that we run, without spaces and hyphens.
constexpr std::array<std::string_view, 26> kBackchannels = {
    "uhhuh", "mhm",  "mmhm", "mm",  "mmm",  "hm",   "hmm",   "aha",  "ah",
    "oh",    "yeah", "yep",  "yes", "ok",   "okay", "right", "sure", "wow",
    "嗯",    "嗯嗯", "对",   "好",  "好的", "是的", "哦",    "啊"};

bool is_letter(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || std::isalnum(byte) != 0;
}

// Full-width punctuation of Chinese and Japanese parts words like a space.
std::string without_wide_marks(std::string_view text) {
  std::string kept(text);
  for (std::string_view mark : {"，", "。", "！", "？", "、", "…", "；"}) {
    for (std::size_t at; (at = kept.find(mark)) != std::string::npos;)
      kept.replace(at, mark.size(), " ");
  }
  return kept;
}

// Lower case; a hyphen or an apostrophe joins.
std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> found;
  bool inside = false;
  for (char c : without_wide_marks(text)) {
    if (is_letter(c)) {
      if (!inside) found.emplace_back();
      found.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      inside = true;
    } else if (c != '-' && c != '\'') {
      inside = false;
    }
  }
  return found;
}

bool is_one(const std::string& word) {
  return std::find(kBackchannels.begin(), kBackchannels.end(), word) != kBackchannels.end();
}

}  // namespace

bool same_words(std::string_view a, std::string_view b) {
  return words(a) == words(b);
}

bool is_backchannel(std::string_view text) {
  const std::vector<std::string> said = words(text);
  for (std::size_t i = 0; i < said.size(); ++i) {
    if (is_one(said[i])) continue;
    if (i + 1 == said.size() || !is_one(said[i] + said[i + 1])) return false;  // "uh huh"
    ++i;
  }
  return true;
}

}  // namespace parley::live
