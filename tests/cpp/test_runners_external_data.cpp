// The walk over ONNX files: every place of external data is found, damage is refused; runs no
// graph.
#include <random>

#include "check.h"
#include "parley/errors.hpp"
#include "runners/ort/external_data.h"
#include "scratch_folder.h"

using namespace parley;

namespace {

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7U) out += static_cast<char>(0x80U | (value & 0x7FU));
  return out + static_cast<char>(value);
}

// A length-delimited field.
std::string field(unsigned number, const std::string& content) {
  return varint(number << 3U | 2U) + varint(content.size()) + content;
}

std::string entry(const std::string& key, const std::string& value) {
  return field(1, key) + field(2, value);
}

std::string tensor(const std::string& location) {
  return field(8, "weight") + field(13, entry("offset", "0")) +
         field(13, entry("location", location));
}

std::vector<std::string> locations(const std::string& bytes) {
  const ScratchFolder folder;
  folder.write("g.onnx", bytes);
  return external_locations(MappedFile(folder.path(), "g.onnx"));
}

using Names = std::vector<std::string>;

}  // namespace

TEST(onnx_external_is_found_everywhere) {
  const auto model = [](const std::string& graph) {
    return varint(1 << 3U) + varint(8) + field(7, graph);
  };
  const auto node = [](const std::string& attribute) { return field(1, field(5, attribute)); };
  const std::string t = tensor("x.data");
  const std::string subgraph = field(5, t);
  for (const std::string& bytes : {
           model(field(5, t)),                               // initializer
           model(field(15, field(1, t))),                    // sparse initializer, values
           model(field(15, field(2, t))),                    // and indices
           model(node(field(5, t))),                         // attribute: tensor
           model(node(field(10, t))),                        // tensors
           model(node(field(6, subgraph))),                  // graph
           model(node(field(11, subgraph))),                 // graphs
           model(node(field(22, field(1, t)))),              // sparse tensor
           model(node(field(23, field(2, t)))),              // sparse tensors
           model(node(field(6, node(field(6, subgraph))))),  // a subgraph's subgraph
           field(25, field(7, field(5, field(5, t)))),       // function: node
           field(25, field(11, field(6, subgraph))),         // function: attribute's default
           field(20, field(1, subgraph)),                    // training: initialization
           field(20, field(2, subgraph)),                    // training: algorithm
       }) {
    CHECK(locations(bytes) == Names{"x.data"});
  }
}

TEST(onnx_external_gives_each_location_once) {
  const std::string graph = field(5, tensor("b")) + field(5, tensor("a")) + field(5, tensor("b")) +
                            field(5, field(8, "inside") + field(9, std::string(1000, '\xFF')));
  CHECK((locations(field(7, graph)) == Names{"a", "b"}));
  CHECK(locations("").empty());
  CHECK(locations(field(7, field(2, "name"))).empty());
}

TEST(onnx_external_compares_with_the_list) {
  const ScratchFolder folder;
  folder.write("g.onnx", field(7, field(5, tensor("w.data"))));
  folder.write("sub/g.onnx", field(7, field(5, tensor("w.data"))));
  folder.write("up.onnx", field(7, field(5, tensor("../w.data"))));
  folder.write("tag.onnx", field(7, field(5, tensor("*/_ORT_MEM_ADDR_/*"))));
  const Names listed{"w.data", "../w.data"};
  check_external(MappedFile(folder.path(), "g.onnx"), listed);
  CHECK_THROWS_MSG(BundleError, "\"w.data\"",
                   check_external(MappedFile(folder.path(), "g.onnx"), {}));
  CHECK_THROWS_MSG(BundleError, "w.data",
                   check_external(MappedFile(folder.path(), "sub/g.onnx"), listed));
  check_external(MappedFile(folder.path(), "sub/g.onnx"), Names{"sub/w.data"});
  CHECK_THROWS_MSG(BundleError, "../w.data",
                   check_external(MappedFile(folder.path(), "up.onnx"), listed));
  CHECK_THROWS_MSG(BundleError, "MEM_ADDR",
                   check_external(MappedFile(folder.path(), "tag.onnx"), listed));
}

TEST(onnx_external_refuses_damage) {
  const std::string good = field(7, field(5, tensor("w.data")));
  for (std::size_t n = 1; n < good.size(); ++n) {
    CHECK_THROWS_MSG(BundleError, "expected an ONNX graph in g.onnx", locations(good.substr(0, n)));
  }
  CHECK_THROWS_MSG(BundleError, "wire type", locations("\x0B"));
  CHECK_THROWS_MSG(BundleError, "field number", locations(std::string("\x02\x00", 2)));
  CHECK_THROWS_MSG(BundleError, "more than 64 bits", locations(std::string(11, '\xFF')));
  CHECK_THROWS_MSG(BundleError, "leaves its message", locations("\x3A\xFF\xFF\xFF\xFF\xFF\x0F"));
  std::string deep = tensor("w");  // graph > node > attribute > graph > ...
  for (int i = 0; i < 40; ++i) deep = field(1, field(5, field(6, deep)));
  CHECK_THROWS_MSG(BundleError, "nested", locations(field(7, deep)));
}

TEST(onnx_external_survives_random_bytes) {
  const std::string good =
      field(7, field(5, tensor("w.data")) + field(1, field(5, field(5, tensor("v")))));
  std::mt19937 random(3);
  const ScratchFolder folder;
  int walked = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = good;
    for (int k = 0; k < 3; ++k) bytes[random() % bytes.size()] = static_cast<char>(random());
    folder.write("g.onnx", bytes);
    try {
      external_locations(MappedFile(folder.path(), "g.onnx"));
      ++walked;
    } catch (const BundleError&) {
    }
  }
  CHECK(walked > 0 && walked < 3000);
}
