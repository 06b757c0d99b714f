// Compares a graph's tensors with what a stage binds to them; knows no stage.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runners/runner.h"

namespace parley {

// In a wanted shape: -1 is a size that changes from run to run, so the graph must leave it free;
// kAnyFixed is a size that the graph decides.
constexpr std::int64_t kAnyFixed = -2;

// Where each wanted tensor stands among the graph's own, and the graph's shape of it.
struct BoundTensor {
  std::size_t index = 0;
  std::vector<std::int64_t> shape;
};

// Throw BundleError that names the tensor which is missing, surplus, or of another type or shape.
// `where` is `[room.verb]`-style: "encoder.create"; `graph` the contract's name of the graph.
std::vector<BoundTensor> bind_inputs(const GraphRunner& runner, const std::string& where,
                                     const std::string& graph, std::span<const TensorSpec> wanted);
std::vector<BoundTensor> bind_outputs(const GraphRunner& runner, const std::string& where,
                                      const std::string& graph, std::span<const TensorSpec> wanted);

// "f32 [1, any, 64]"
std::string describe(const TensorSpec& spec);

}  // namespace parley
