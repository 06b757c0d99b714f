// Finds the files that an ONNX graph refers to, by a bounded walk over its bytes; knows no
// operator. Source of the numbers: onnx.proto of ONNX 1.17 and the protobuf wire format.
#include "runners/ort/external_data.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "parley/errors.hpp"

namespace parley {
namespace {

enum class Message : std::uint8_t {
  model,
  training,
  graph,
  node,
  attribute,
  function,
  tensor,
  sparse_tensor,
  entry
};

struct Edge {
  Message from;
  std::uint64_t field;
  Message to;
};

// Every path from a model to a tensor's external data.
constexpr Edge kEdges[] = {
    {Message::model, 7, Message::graph},
    {Message::model, 20, Message::training},
    {Message::model, 25, Message::function},
    {Message::training, 1, Message::graph},
    {Message::training, 2, Message::graph},
    {Message::graph, 1, Message::node},
    {Message::graph, 5, Message::tensor},
    {Message::graph, 15, Message::sparse_tensor},
    {Message::node, 5, Message::attribute},
    {Message::attribute, 5, Message::tensor},
    {Message::attribute, 6, Message::graph},
    {Message::attribute, 10, Message::tensor},
    {Message::attribute, 11, Message::graph},
    {Message::attribute, 22, Message::sparse_tensor},
    {Message::attribute, 23, Message::sparse_tensor},
    {Message::function, 7, Message::node},
    {Message::function, 11, Message::attribute},
    {Message::sparse_tensor, 1, Message::tensor},
    {Message::sparse_tensor, 2, Message::tensor},
    {Message::tensor, 13, Message::entry},
};

constexpr int kMaxDepth = 100;  // protobuf's own limit
constexpr std::size_t kMaxPending = std::size_t{1} << 22U;

std::optional<Message> edge(Message from, std::uint64_t field) {
  for (const Edge& e : kEdges) {
    if (e.from == from && e.field == field) return e.to;
  }
  return std::nullopt;
}

struct Part {
  std::span<const std::byte> bytes;
  Message kind;
  int depth;
};

// One field of a message; `bytes` only where the wire type is 2.
struct Field {
  std::uint64_t number = 0;
  unsigned wire = 0;
  std::span<const std::byte> bytes;
};

class Walk {
 public:
  explicit Walk(const MappedFile& file) : file_(file) {}

  std::vector<std::string> locations() {
    pending_.push_back({file_.bytes(), Message::model, 0});
    while (!pending_.empty()) {
      const Part part = pending_.back();
      pending_.pop_back();
      if (part.kind == Message::entry) {
        entry(part.bytes);
      } else {
        message(part);
      }
    }
    std::sort(found_.begin(), found_.end());
    found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
    return std::move(found_);
  }

 private:
  [[noreturn]] void fail(const std::string& got) const {
    throw BundleError("[bundle.open] expected an ONNX graph in " + file_.name() + ", got " + got +
                      "; export the bundle again");
  }

  std::uint64_t varint(std::span<const std::byte>& rest) const {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest.empty()) fail("bytes that end inside a number");
      const auto byte = std::to_integer<std::uint64_t>(rest.front());
      rest = rest.subspan(1);
      value |= (byte & 0x7FU) << shift;
      if (byte < 0x80) return value;
    }
    fail("a number of more than 64 bits");
  }

  std::span<const std::byte> take(std::span<const std::byte>& rest, std::uint64_t n) const {
    if (n > rest.size()) fail("a field that leaves its message");
    const std::span<const std::byte> taken = rest.first(static_cast<std::size_t>(n));
    rest = rest.subspan(static_cast<std::size_t>(n));
    return taken;
  }

  Field next(std::span<const std::byte>& rest) const {
    const std::uint64_t tag = varint(rest);
    Field field{tag >> 3U, static_cast<unsigned>(tag & 7U), {}};
    if (field.number == 0 || field.number >= (1U << 29U)) fail("an impossible field number");
    switch (field.wire) {
      case 0:
        varint(rest);
        break;
      case 1:
        take(rest, 8);
        break;
      case 2:
        field.bytes = take(rest, varint(rest));
        break;
      case 5:
        take(rest, 4);
        break;
      default:
        fail("an unknown wire type");
    }
    return field;
  }

  void message(const Part& part) {
    for (std::span<const std::byte> rest = part.bytes; !rest.empty();) {
      const Field field = next(rest);
      const std::optional<Message> kind = edge(part.kind, field.number);
      if (!kind || field.bytes.empty()) continue;
      if (part.depth >= kMaxDepth) fail("more than 100 nested messages");
      if (pending_.size() >= kMaxPending) fail("more than four million messages");
      pending_.push_back({field.bytes, *kind, part.depth + 1});
    }
  }

  // One key and one value. Where a damaged entry repeats them, every value counts.
  void entry(std::span<const std::byte> bytes) {
    bool is_location = false;
    std::vector<std::string> values;
    while (!bytes.empty()) {
      const Field field = next(bytes);
      if (field.wire != 2) continue;
      std::string text(reinterpret_cast<const char*>(field.bytes.data()), field.bytes.size());
      if (field.number == 1) is_location = is_location || text == "location";
      if (field.number == 2) values.push_back(std::move(text));
    }
    if (!is_location) return;
    if (values.empty()) values.emplace_back();
    found_.insert(found_.end(), values.begin(), values.end());
  }

  const MappedFile& file_;
  std::vector<Part> pending_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> external_locations(const MappedFile& onnx) {
  return Walk(onnx).locations();
}

void check_external(const MappedFile& onnx, std::span<const std::string> allowed) {
  const std::size_t slash = onnx.name().rfind('/');
  const std::string folder = slash == std::string::npos ? "" : onnx.name().substr(0, slash + 1);
  for (const std::string& location : external_locations(onnx)) {
    const bool listed =
        std::find(allowed.begin(), allowed.end(), folder + location) != allowed.end();
    if (!listed || !why_unsafe(folder + location).empty()) {
      throw BundleError("[bundle.open] expected " + onnx.name() +
                        " to refer only to files that the manifest lists for it, got \"" +
                        location + "\"; do not use this bundle, or export it again");
    }
  }
}

}  // namespace parley
