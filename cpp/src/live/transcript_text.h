// Comparing what a recognizer wrote: case, punctuation and spaces do not count.
#pragma once
#include <string>
#include <string_view>

namespace parley::live {

bool same_words(std::string_view a, std::string_view b);

// Whether it is made of listener's words like "uh huh" and "mm" alone, or of nothing.
bool is_backchannel(std::string_view text);

}  // namespace parley::live
