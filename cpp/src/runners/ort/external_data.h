// Which files an ONNX graph refers to; opens none of them and knows no operator.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "base/file.h"

namespace parley {

// Every external_data location that an ONNX file refers to, in any graph, subgraph, function or
// training part; sorted, each once. Throws BundleError where the file is no protobuf message.
std::vector<std::string> external_locations(const MappedFile& onnx);

// Throws BundleError where `onnx` refers to a file outside `allowed` (names relative to the bundle;
// a location is relative to the graph's own folder).
void check_external(const MappedFile& onnx, std::span<const std::string> allowed);

}  // namespace parley
