// Compares a graph's tensors with what a stage binds to them; knows no stage.
#include "stages/graph_check.h"

#include <algorithm>

namespace parley {

namespace {

struct Side {
  const std::vector<TensorSpec>& tensors;
  const char* noun;  // input | output
};

bool fits(std::int64_t graph, std::int64_t wanted) {
  if (wanted == kAnyFixed) return graph >= 0;
  if (wanted < 0) return graph < 0;
  return graph < 0 || graph == wanted;
}

bool fits(const TensorSpec& graph, const TensorSpec& wanted) {
  return graph.type == wanted.type && graph.shape.size() == wanted.shape.size() &&
         std::equal(graph.shape.begin(), graph.shape.end(), wanted.shape.begin(),
                    [](std::int64_t a, std::int64_t b) { return fits(a, b); });
}

[[noreturn]] void refuse(const std::string& where, const std::string& graph,
                         const std::string& expected, const std::string& got) {
  throw BundleError("[" + where + "] expected graph " + graph + " " + expected + ", got " + got +
                    "; export the bundle again with this version of parley");
}

std::vector<BoundTensor> bind(const Side& side, const std::string& where, const std::string& graph,
                              std::span<const TensorSpec> wanted) {
  std::vector<BoundTensor> bound;
  for (const TensorSpec& want : wanted) {
    const auto found = std::find_if(side.tensors.begin(), side.tensors.end(),
                                    [&](const TensorSpec& t) { return t.name == want.name; });
    const std::string expected =
        std::string("to have ") + side.noun + " " + want.name + " " + describe(want);
    if (found == side.tensors.end()) refuse(where, graph, expected, "none of that name");
    if (!fits(*found, want)) refuse(where, graph, expected, describe(*found));
    bound.push_back({static_cast<std::size_t>(found - side.tensors.begin()), found->shape});
  }
  for (const TensorSpec& have : side.tensors) {
    const bool known = std::any_of(wanted.begin(), wanted.end(),
                                   [&](const TensorSpec& want) { return want.name == have.name; });
    if (!known) {
      refuse(where, graph, "to have " + std::to_string(wanted.size()) + " " + side.noun + "s",
             "also " + have.name + " " + describe(have));
    }
  }
  return bound;
}

}  // namespace

std::vector<BoundTensor> bind_inputs(const GraphRunner& runner, const std::string& where,
                                     const std::string& graph, std::span<const TensorSpec> wanted) {
  return bind({runner.inputs(), "input"}, where, graph, wanted);
}

std::vector<BoundTensor> bind_outputs(const GraphRunner& runner, const std::string& where,
                                      const std::string& graph,
                                      std::span<const TensorSpec> wanted) {
  return bind({runner.outputs(), "output"}, where, graph, wanted);
}

std::string describe(const TensorSpec& spec) {
  std::string text = std::string(name_of(spec.type)) + " [";
  for (std::size_t i = 0; i < spec.shape.size(); ++i) {
    if (i > 0) text += ", ";
    if (spec.shape[i] >= 0) {
      text += std::to_string(spec.shape[i]);
    } else {
      text += spec.shape[i] == kAnyFixed ? "a fixed size" : "any";
    }
  }
  return text + "]";
}

}  // namespace parley
