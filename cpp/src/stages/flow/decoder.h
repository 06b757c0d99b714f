// The flow decoder over its three graphs; knows no waveform.
#pragma once
#include <memory>

#include "stages/flow/config.h"
#include "stages/flow/graphs.h"

namespace parley {

// Throws BundleError where settings and graphs do not fit each other.
std::unique_ptr<FlowDecoder> make_graph_flow_decoder(FlowGraphs graphs, FlowConfig config);

}  // namespace parley
