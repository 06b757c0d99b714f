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
#include "stages/flow/config.h"
#include "stages/vocoder.h"

namespace parley {

// What a bundle's graphs become. The last two are made with settings, since a caller may want
// others than the bundle's.
struct Stages {
  std::shared_ptr<const Encoder> encoder;
  std::function<std::shared_ptr<const FlowDecoder>(const FlowConfig&)> flow;
  std::function<std::shared_ptr<const Vocoder>(const VocoderConfig&)> vocoder;
};

// Opens a graph by its name in the contract; null where the bundle has none.
using OpenGraph = std::function<std::shared_ptr<const GraphRunner>(const std::string& name)>;

struct Family {
  std::string_view name;
  Stages (*build)(const Manifest& manifest, const OpenGraph& open);
};

// From whichever graphs of the contract a bundle has; what they are is for the manifest to say.
Stages build_stages(const Manifest& manifest, const OpenGraph& open);

std::span<const Family> known_families();

// The manifest's. Throws BundleError that lists the names in `known`.
const Family& family_of(const Manifest& manifest, std::span<const Family> known);

}  // namespace parley
