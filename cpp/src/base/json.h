// A strict JSON reader: RFC 8259 text to a tree of values; knows no schema and writes nothing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "parley/errors.hpp"

namespace parley::json {

// Where in a text something stands, and the keys that lead there: "a.b[1].c".
struct Place {
  int line = 0;
  int column = 0;  // in bytes
  std::string key;
};

// " at line 3, column 8 (key a.b[1].c)", the key only where there is one.
std::string where(const Place& place);

// Text that is no JSON, is beyond the limits, or is not what the caller's fields ask for. Its parts
// are there for callers that word their own message.
class ParseError : public Error {
 public:
  ParseError(std::string expected, std::string got, Place place);
  const std::string& expected() const { return expected_; }
  const std::string& got() const { return got_; }
  const Place& place() const { return place_; }

 private:
  std::string expected_;
  std::string got_;
  Place place_;
};

struct Limits {
  std::size_t max_bytes = 16U << 20U;
  int max_depth = 32;
};

enum class Kind : std::uint8_t { null, boolean, number, string, array, object };

const char* name_of(Kind kind);

struct Member;

// Members keep the order of the text; a repeated key is an error.
struct Value {
  Kind kind = Kind::null;
  bool boolean = false;
  bool is_int = false;       // written without fraction and exponent, and fits 64 bits
  std::int64_t integer = 0;  // exact, where is_int
  double number = 0.0;       // of any number
  std::string string;        // UTF-8
  std::vector<Value> array;
  std::vector<Member> object;
  int line = 0;
  int column = 0;

  const Value* find(std::string_view key) const;  // null where the object has no such key
  Value* find(std::string_view key);
};

// No std::pair: not every compiler takes one of an incomplete type in a vector.
struct Member {
  std::string first;  // the key
  Value second;
};

Value parse(std::string_view text, const Limits& limits = {});

}  // namespace parley::json
