// Reads JSON objects into structs, each key exactly once; knows no struct. A struct T takes part by
// `void visit(json::Fields&, T&)` in its own namespace; an error names the key's path and place.
#pragma once
#include <concepts>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/json.h"

namespace parley::json {

struct Range {
  double min;
  double max;
};

// The strings that a field may hold.
struct OneOf {
  std::initializer_list<std::string_view> names;
};

struct NotEmpty {};

// A value and the path that leads to it.
struct Node {
  const Value& value;
  std::string path;

  Node item(std::size_t i) const { return {value.array[i], path + "[" + std::to_string(i) + "]"}; }
  Node member(std::size_t i) const {
    const Member& m = value.object[i];
    return {m.second, path.empty() ? m.first : path + "." + m.first};
  }
  [[noreturn]] void fail(const std::string& expected, const std::string& got) const;
  void require(Kind kind) const;
};

// The members of one object; every key that the text has must be asked for before done().
class Fields {
 public:
  explicit Fields(const Node& node);
  // Reads a key that must be there.
  template <typename T, typename... Rules>
  Fields& operator()(std::string_view key, T& out, const Rules&... rules) {
    read(at(key), out, rules...);
    return *this;
  }
  // Leaves `out` alone where the key is absent.
  template <typename T, typename... Rules>
  Fields& may(std::string_view key, T& out, const Rules&... rules) {
    if (node_.value.find(key) != nullptr) read(at(key), out, rules...);
    return *this;
  }
  const Member* not_asked() const;  // a key that the text has beyond those; null: none
  void done() const;                // throws where there is one

 private:
  Node at(std::string_view key);

  const Node& node_;
  std::vector<bool> asked_;
};

void read(const Node& node, bool& out);
void read(const Node& node, std::string& out);
void read(const Node& node, std::string& out, NotEmpty);
void read(const Node& node, std::string& out, const OneOf& names);
void read(const Node& node, double& out, Range range);
void read(const Node& node, float& out, Range range);
std::int64_t read_integer(const Node& node, Range range);
std::size_t read_choice(const Node& node, const OneOf& names);  // its place among them

// An enum whose values have these names, in their order.
template <typename T>
  requires std::is_enum_v<T>
void read(const Node& node, T& out, const OneOf& names) {
  out = static_cast<T>(read_choice(node, names));
}

template <std::integral T>
  requires(!std::same_as<T, bool>)
void read(const Node& node, T& out, Range range) {
  out = static_cast<T>(read_integer(node, range));
}

// A struct with a visit() of its own.
template <typename T>
  requires requires(Fields& fields, T& out) { visit(fields, out); }
void read(const Node& node, T& out) {
  Fields fields(node);
  visit(fields, out);
  fields.done();
}

// null is an empty value.
template <typename T, typename... Rules>
void read(const Node& node, std::optional<T>& out, const Rules&... rules) {
  out.reset();
  if (node.value.kind != Kind::null) read(node, out.emplace(), rules...);
}

template <typename T, typename... Rules>
void read(const Node& node, std::map<std::string, T>& out, const Rules&... rules) {
  node.require(Kind::object);
  out.clear();
  for (std::size_t i = 0; i < node.value.object.size(); ++i) {
    read(node.member(i), out[node.value.object[i].first], rules...);
  }
}

template <typename T, typename... Rules>
void read(const Node& node, std::vector<T>& out, const Rules&... rules) {
  node.require(Kind::array);
  out.assign(node.value.array.size(), T());
  for (std::size_t i = 0; i < out.size(); ++i) read(node.item(i), out[i], rules...);
}

}  // namespace parley::json
