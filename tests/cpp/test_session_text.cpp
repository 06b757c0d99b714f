// Pieces of text become whole characters, wherever they are cut; what is no UTF-8 is told as such.
#include <string>
#include <vector>

#include "check.h"
#include "session/text_joiner.h"

namespace {

using parley::TextJoiner;

std::string joined(const std::string& bytes, std::size_t cut) {
  TextJoiner joiner;
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += cut) joiner.add(bytes.substr(at, cut), text);
  joiner.finish(text);
  return text;
}

TEST(any_cut_gives_the_same_characters) {
  const std::string text = "a\xE2\x82\xAC\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x98\x80z";
  for (std::size_t cut = 1; cut <= text.size(); ++cut) CHECK_EQ(joined(text, cut), text);
}

TEST(a_character_comes_with_the_piece_that_ends_it) {
  TextJoiner joiner;
  std::string text;
  joiner.add("a\xE2\x82", text);
  CHECK_EQ(text, "a");
  CHECK_EQ(joiner.waiting(), "\xE2\x82");
  joiner.add(
      "\xAC"
      "b",
      text);
  CHECK_EQ(text,
           "a\xE2\x82\xAC"
           "b");
}

// The replacements that Unicode 15, section 3.9, recommends and that Python's decoder makes.
TEST(what_is_no_utf8_is_replaced) {
  const std::string bad = "\xEF\xBF\xBD";
  struct Case {
    std::string bytes;
    std::string text;
  };
  const std::vector<Case> cases = {
      {"a\xE2\x82", "a" + bad},
      {"\xE2\x28\xA1", bad + "(" + bad},
      {"\xF0\x80\x80\x41", bad + bad + bad + "A"},
      {"\xED\xA0\x80", bad + bad + bad},
      {"\xF0\x9F\x98\x41", bad + "A"},
      {"\xC0\xAF", bad + bad},
      {"\xF4\x90\x80\x80", bad + bad + bad + bad},
      {"\xE2\x82\xE2\x82\xAC", bad + "\xE2\x82\xAC"},
      {"\xFF\x41", bad + "A"},
  };
  for (const Case& c : cases)
    for (std::size_t cut = 1; cut <= 4; ++cut) CHECK_EQ(joined(c.bytes, cut), c.text);
}

}  // namespace
