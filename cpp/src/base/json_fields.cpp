// Reads single JSON values under a rule and tells what is wrong; knows no struct.
#include "base/json_fields.h"

#include <algorithm>
#include <cstdio>

namespace parley::json {
namespace {

std::string text_of(double number) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.10g", number);
  return text;
}

std::string show(const Value& value) {
  if (value.kind == Kind::string) return "\"" + value.string.substr(0, 80) + "\"";
  if (value.kind == Kind::number) return text_of(value.number);
  return name_of(value.kind);
}

std::string show(Range range) {
  return "from " + text_of(range.min) + " to " + text_of(range.max);
}

bool inside(const Value& value, Range range) {
  return value.number >= range.min && value.number <= range.max;
}

}  // namespace

void Node::fail(const std::string& expected, const std::string& got) const {
  throw ParseError(expected, got, {value.line, value.column, path});
}

void Node::require(Kind kind) const {
  if (value.kind != kind) fail(name_of(kind), show(value));
}

Fields::Fields(const Node& node) : node_(node) {
  node.require(Kind::object);
  asked_.assign(node.value.object.size(), false);
}

Node Fields::at(std::string_view key) {
  for (std::size_t i = 0; i < asked_.size(); ++i) {
    if (node_.value.object[i].first != key) continue;
    asked_[i] = true;
    return node_.member(i);
  }
  node_.fail("the key \"" + std::string(key) + "\"", "an object without it");
}

const Member* Fields::not_asked() const {
  const auto found = std::find(asked_.begin(), asked_.end(), false);
  return found == asked_.end()
             ? nullptr
             : &node_.value.object[static_cast<std::size_t>(found - asked_.begin())];
}

void Fields::done() const {
  const Member* other = not_asked();
  if (other == nullptr) return;
  node_.member(static_cast<std::size_t>(other - node_.value.object.data()))
      .fail("no key but the known ones", "\"" + other->first.substr(0, 80) + "\"");
}

void read(const Node& node, bool& out) {
  node.require(Kind::boolean);
  out = node.value.boolean;
}

void read(const Node& node, std::string& out) {
  node.require(Kind::string);
  out = node.value.string;
}

void read(const Node& node, std::string& out, NotEmpty) {
  read(node, out);
  if (out.empty()) node.fail("text", "an empty string");
}

std::size_t read_choice(const Node& node, const OneOf& names) {
  node.require(Kind::string);
  const auto found = std::find(names.names.begin(), names.names.end(), node.value.string);
  if (found != names.names.end()) return static_cast<std::size_t>(found - names.names.begin());
  std::string expected;
  for (const std::string_view name : names.names) {
    expected += (expected.empty() ? "\"" : " or \"") + std::string(name) + "\"";
  }
  node.fail(expected, show(node.value));
}

void read(const Node& node, std::string& out, const OneOf& names) {
  out = names.names.begin()[read_choice(node, names)];
}

void read(const Node& node, double& out, Range range) {
  if (node.value.kind != Kind::number || !inside(node.value, range)) {
    node.fail("a number " + show(range), show(node.value));
  }
  out = node.value.number;
}

void read(const Node& node, float& out, Range range) {
  double number = 0.0;
  read(node, number, range);
  out = static_cast<float>(number);
}

std::int64_t read_integer(const Node& node, Range range) {
  if (!node.value.is_int || !inside(node.value, range)) {
    node.fail("a whole number " + show(range), show(node.value));
  }
  return node.value.integer;
}

}  // namespace parley::json
