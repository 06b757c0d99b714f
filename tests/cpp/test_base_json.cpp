// The JSON reader: what it accepts, what it refuses and how it says so; knows no manifest.
#include "base/json.h"

#include <random>
#include <string>

#include "check.h"

using namespace parley;
using json::Kind;
using json::ParseError;

TEST(json_reads_every_kind) {
  const json::Value v = json::parse(
      R"( {"n": null, "t": true, "f": false, "i": -12, "d": 1.5e2, "s": "a\n", "a": [1, []], "o": {}} )");
  REQUIRE(v.kind == Kind::object && v.object.size() == 8);
  CHECK(v.find("n")->kind == Kind::null);
  CHECK(v.find("t")->boolean && !v.find("f")->boolean);
  CHECK_EQ(v.find("i")->integer, -12);
  CHECK(v.find("i")->is_int && !v.find("d")->is_int);
  CHECK_EQ(v.find("d")->number, 150.0);
  CHECK_EQ(v.find("s")->string, "a\n");
  CHECK_EQ(v.find("a")->array.size(), 2U);
  CHECK(v.find("o")->object.empty() && v.find("o")->kind == Kind::object);
  CHECK(v.find("missing") == nullptr);
  CHECK_EQ(v.object[3].first, "i");  // the order of the text
}

TEST(json_integers_are_exact) {
  CHECK_EQ(json::parse("9223372036854775807").integer, 9223372036854775807);
  CHECK_EQ(json::parse("-9223372036854775808").integer, INT64_MIN);
  const json::Value beyond = json::parse("9223372036854775808");
  CHECK(!beyond.is_int);
  CHECK_EQ(beyond.number, 9223372036854775808.0);
  CHECK(!json::parse("1.0").is_int);
  CHECK_EQ(json::parse("0.1").number, 0.1);
}

TEST(json_strings_are_utf8) {
  CHECK_EQ(json::parse(R"("\u00e9\u4f60\ud83d\ude00")").string, "é你😀");
  CHECK_EQ(json::parse("\"é你😀\"").string, "é你😀");
  CHECK_EQ(json::parse(R"("\"\\\/\b\f\n\r\t")").string, "\"\\/\b\f\n\r\t");
  CHECK_EQ(json::parse(R"("a\u0000b")").string.size(), 3U);
  for (const char* bad : {"\"\xC0\x80\"", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"",
                          "\"\xE4\xBD\"", "\"\xFF\"", "\"\x80\""}) {
    CHECK_THROWS_MSG(ParseError, "expected UTF-8", json::parse(bad));
  }
  CHECK_THROWS_MSG(ParseError, "surrogate", json::parse(R"("\ud83d")"));
  CHECK_THROWS_MSG(ParseError, "surrogate", json::parse(R"("\ude00")"));
  CHECK_THROWS_MSG(ParseError, "surrogate", json::parse(R"("\ud83d\u0041")"));
}

TEST(json_refuses_what_is_not_json) {
  for (const char* bad :
       {"",        " ",         "{",       "[1,]",     "{\"a\":1,}", "{a:1}",   "'a'",
        "01",      "+1",        "1.",      ".5",       "1e",         "1e+",     "-",
        "tru",     "nul",       "NaN",     "Infinity", "-Infinity",  "0x10",    "1 2",
        "[1 2]",   "{\"a\" 1}", "{\"a\"}", "\"a",      "\"\t\"",     "\"\\x\"", "\"\\u12g4\"",
        "// c\n1", "1e999",     "]",       "[}"}) {
    CHECK_THROWS_MSG(ParseError, "[json.read] expected", json::parse(bad));
  }
  CHECK_THROWS_MSG(ParseError, "byte order mark", json::parse("\xEF\xBB\xBF{}"));
}

TEST(json_errors_give_the_place) {
  CHECK_THROWS_MSG(ParseError, "line 3, column 8 (key a.b[1].c)",
                   json::parse("{\"a\":\n {\"b\": [0,\n {\"c\": oops}]}}"));
  CHECK_THROWS_MSG(ParseError, "got 'o'", json::parse("[o]"));
  CHECK_THROWS_MSG(ParseError, "got the end of the text", json::parse("{\"a\": [1, 2"));
}

TEST(json_refuses_a_repeated_key) {
  CHECK_THROWS_MSG(ParseError, "\"a\" twice", json::parse(R"({"a": 1, "b": 2, "a": 1})"));
  CHECK_THROWS_MSG(ParseError, "\"a\" twice", json::parse(R"({"a": 1, "\u0061": 2})"));
  CHECK_EQ(json::parse(R"([{"a": 1}, {"a": 1}])").array.size(), 2U);
}

TEST(json_keeps_its_limits) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK_EQ(json::parse(nested(32)).array.size(), 1U);
  CHECK_THROWS_MSG(ParseError, "at most 32 levels", json::parse(nested(33)));
  CHECK_THROWS_MSG(ParseError, "at most 32 levels", json::parse(std::string(1000000, '[')));
  CHECK_THROWS_MSG(ParseError, "at most 4 bytes", json::parse("[1,2]", {.max_bytes = 4}));
}

// Every cut and many changed bytes: the reader gives a value or a ParseError, nothing else.
TEST(json_survives_damaged_text) {
  const std::string good =
      R"({"a": [1, -2.5e3, "x\u00e9\ud83d\ude00"], "b": {"c": null, "d": true}})";
  for (std::size_t n = 0; n < good.size(); ++n) {
    CHECK_THROWS_MSG(ParseError, "[json.read]", json::parse(good.substr(0, n)));
  }
  std::mt19937 random(1);
  int parsed = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    for (std::uint32_t k = random() % 4; k < 4; ++k) {
      text[random() % text.size()] = static_cast<char>(random());
    }
    try {
      parsed += json::parse(text).kind == Kind::object ? 1 : 0;
    } catch (const ParseError&) {
    }
  }
  CHECK(parsed > 0 && parsed < 20000);
}
