// The strict JSON reader: recursive descent with limits on size and depth; knows no schema.
#include "base/json.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <locale>
#include <sstream>
#include <string>
#include <utility>

#include "base/utf8.h"

namespace parley::json {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// False where the number is out of range. A program's locale must not change what it reads.
bool read_double(const char* first, const char* last, double& number) {
#if defined(__cpp_lib_to_chars)
  return std::from_chars(first, last, number).ec == std::errc();
#else  // libc++ before version 20
  std::istringstream text(std::string(first, last));
  text.imbue(std::locale::classic());
  return static_cast<bool>(text >> number);
#endif
}

class Parser {
 public:
  Parser(std::string_view text, const Limits& limits) : text_(text), limits_(limits) {}

  Value document() {
    if (text_.size() > limits_.max_bytes) {
      fail("at most " + std::to_string(limits_.max_bytes) + " bytes", std::to_string(text_.size()));
    }
    if (text_.starts_with("\xEF\xBB\xBF")) fail("JSON", "a byte order mark");
    Value value = any(0);
    skip_space();
    if (at_ < text_.size()) fail("the end of the text", next());
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    throw ParseError(expected, got, {line_, column(), path_});
  }

  int column() const { return static_cast<int>(at_ - line_begin_) + 1; }  // in bytes

  std::string next() const {
    if (at_ >= text_.size()) return "the end of the text";
    const unsigned char c = static_cast<unsigned char>(text_[at_]);
    if (c > 32 && c < 127) return std::string("'") + text_[at_] + "'";
    char hex[16];
    std::snprintf(hex, sizeof(hex), "byte 0x%02x", c);
    return hex;
  }

  bool is_next(char c) const { return at_ < text_.size() && text_[at_] == c; }

  bool accept(char c) {
    if (!is_next(c)) return false;
    ++at_;
    return true;
  }

  void expect(char c, const char* what) {
    if (!accept(c)) fail(what, next());
  }

  void skip_space() {
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '\n') {
        ++line_;
        line_begin_ = at_ + 1;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        return;
      }
    }
  }

  Value any(int depth) {
    skip_space();
    if (depth >= limits_.max_depth && (is_next('{') || is_next('['))) {
      fail("at most " + std::to_string(limits_.max_depth) + " levels", "a deeper one");
    }
    Value value;
    value.line = line_;
    value.column = column();
    if (accept('{')) {
      object(value, depth);
    } else if (accept('[')) {
      array(value, depth);
    } else if (accept('"')) {
      value.kind = Kind::string;
      value.string = string();
    } else if (is_next('-') || (at_ < text_.size() && is_digit(text_[at_]))) {
      number(value);
    } else {
      word(value);
    }
    return value;
  }

  void object(Value& value, int depth) {
    value.kind = Kind::object;
    skip_space();
    if (accept('}')) return;
    const std::size_t path_size = path_.size();
    do {
      skip_space();
      expect('"', "a key");
      std::string key = string();
      if (!path_.empty()) path_ += '.';
      path_ += key;
      skip_space();
      expect(':', "':'");
      value.object.push_back({std::move(key), any(depth + 1)});
      path_.resize(path_size);
      skip_space();
    } while (accept(','));
    expect('}', "',' or '}'");
    check_unique(value.object);
  }

  void check_unique(const std::vector<Member>& members) const {
    std::vector<std::string_view> keys;
    keys.reserve(members.size());
    for (const Member& member : members) keys.push_back(member.first);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) {
      fail("every key of an object once",
           "\"" + std::string(*twice) + "\" twice in the object ending");
    }
  }

  void array(Value& value, int depth) {
    value.kind = Kind::array;
    skip_space();
    if (accept(']')) return;
    const std::size_t path_size = path_.size();
    do {
      path_ += '[' + std::to_string(value.array.size()) + ']';
      value.array.push_back(any(depth + 1));
      path_.resize(path_size);
      skip_space();
    } while (accept(','));
    expect(']', "',' or ']'");
  }

  void word(Value& value) {
    const std::string_view rest = text_.substr(at_);
    if (rest.starts_with("true") || rest.starts_with("false")) {
      value.kind = Kind::boolean;
      value.boolean = rest[0] == 't';
      at_ += value.boolean ? 4 : 5;
    } else if (rest.starts_with("null")) {
      at_ += 4;
    } else {
      fail("a value", next());
    }
  }

  void digits() {
    if (at_ >= text_.size() || !is_digit(text_[at_])) fail("a digit", next());
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
  }

  void number(Value& value) {
    value.kind = Kind::number;
    const std::size_t begin = at_;
    bool whole = true;
    accept('-');
    if (!accept('0')) digits();
    if (accept('.')) {
      whole = false;
      digits();
    }
    if (accept('e') || accept('E')) {
      whole = false;
      if (!accept('+')) accept('-');
      digits();
    }
    const char* first = text_.data() + begin;
    const char* last = text_.data() + at_;
    if (!read_double(first, last, value.number)) {
      fail("a number of double range", "\"" + std::string(first, last) + "\"");
    }
    value.is_int = whole && std::from_chars(first, last, value.integer).ec == std::errc();
  }

  // The text behind the opening quote, up to and past the closing one.
  std::string string() {
    std::string out;
    while (true) {
      if (at_ >= text_.size()) fail("'\"'", next());
      const unsigned char c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c < 0x20) fail("a control character as an escape", next());
      if (c == '\\') {
        ++at_;
        escape(out);
      } else {
        const std::size_t n = utf8::sequence_length(text_.substr(at_));
        if (n == 0) fail("UTF-8", next());
        out.append(text_, at_, n);
        at_ += n;
      }
    }
  }

  void escape(std::string& out) {
    static constexpr std::string_view kLetters = "\"\\/bfnrt";
    static constexpr std::string_view kBytes = "\"\\/\b\f\n\r\t";
    if (accept('u')) {
      std::uint32_t code = hex4();
      if (code >= 0xD800 && code < 0xDC00) {  // the first half of a pair
        if (!(accept('\\') && accept('u'))) fail("the second half of a surrogate pair", next());
        const std::uint32_t low = hex4();
        if (low < 0xDC00 || low >= 0xE000) fail("the second half of a surrogate pair", "another");
        code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
      } else if (code >= 0xDC00 && code < 0xE000) {
        fail("the first half of a surrogate pair", "the second");
      }
      utf8::append(out, code);
      return;
    }
    const std::size_t i = at_ < text_.size() ? kLetters.find(text_[at_]) : std::string_view::npos;
    if (i == std::string_view::npos) fail("an escape of JSON", next());
    out += kBytes[i];
    ++at_;
  }

  std::uint32_t hex4() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : ' ';
      const bool upper = c >= 'A' && c <= 'F';
      if (!is_digit(c) && !upper && !(c >= 'a' && c <= 'f')) fail("four hex digits", next());
      code = code * 16 +
             static_cast<std::uint32_t>(is_digit(c) ? c - '0' : c - (upper ? 'A' : 'a') + 10);
    }
    return code;
  }

  std::string_view text_;
  Limits limits_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::size_t line_begin_ = 0;
  std::string path_;
};

}  // namespace

std::string where(const Place& place) {
  std::string text =
      " at line " + std::to_string(place.line) + ", column " + std::to_string(place.column);
  if (!place.key.empty()) text += " (key " + place.key + ")";
  return text;
}

ParseError::ParseError(std::string expected, std::string got, Place place)
    : Error("[json.read] expected " + expected + ", got " + got + where(place) +
            "; correct the text"),
      expected_(std::move(expected)),
      got_(std::move(got)),
      place_(std::move(place)) {}

const char* name_of(Kind kind) {
  static constexpr const char* kNames[] = {"null",     "true or false", "a number",
                                           "a string", "an array",      "an object"};
  return kNames[static_cast<std::size_t>(kind)];
}

const Value* Value::find(std::string_view key) const {
  for (const Member& member : object) {
    if (member.first == key) return &member.second;
  }
  return nullptr;
}

Value* Value::find(std::string_view key) {
  return const_cast<Value*>(std::as_const(*this).find(key));
}

Value parse(std::string_view text, const Limits& limits) {
  return Parser(text, limits).document();
}

}  // namespace parley::json
