// The families that the engine knows: name in the manifest -> what builds their stages.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "bundle/manifest.h"
#include "runners/runner.h"
#include "stages/encoder.h"
#include "stages/flow/decoder.h"
#include "stages/vocoder.h"

namespace parley {

// What a bundle's graphs become; the flow decoder is made from its graphs with settings.
struct Stages {
  std::shared_ptr<const Encoder> encoder;
  FlowGraphs flow_graphs;
  std::shared_ptr<const GraphRunner> vocoder_graph;
  std::shared_ptr<const Vocoder> vocoder;
};

// Opens a graph by its name in the contract; null where the bundle has none.
using OpenGraph = std::function<std::shared_ptr<const GraphRunner>(const std::string& name)>;

struct Family {
  std::string_view name;
  Stages (*build)(const Manifest& manifest, const OpenGraph& open);
};

Stages build_covo_audio(const Manifest& manifest, const OpenGraph& open);

std::span<const Family> known_families();

// The manifest's. Throws BundleError that lists the names in `known`.
const Family& family_of(const Manifest& manifest, std::span<const Family> known);

}  // namespace parley
