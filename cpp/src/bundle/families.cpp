// The table of families, and what their graphs become; knows no file.
#include "bundle/families.h"

#include <array>

#include "audio/log_mel.h"
#include "stages/contract.h"
#include "stages/flow/decoder.h"

namespace parley {

Stages build_stages(const Manifest& manifest, const OpenGraph& open) {
  const GraphEntry* chunk = manifest.graph(contract::encoder_chunk::kGraph);
  EncoderShape shape;
  shape.n_mels = static_cast<std::size_t>(manifest.front_end.n_mels);
  shape.segment_mel_frames = SegmentLogMel(manifest.front_end).n_frames();
  if (manifest.duplex)
    shape.chunk_mel_frames = static_cast<std::size_t>(manifest.duplex->chunk_mel_frames);
  shape.feature_halvings = manifest.front_end.feature_halvings;
  shape.pooled_halving = manifest.front_end.pooled_halving;
  shape.feature_group = manifest.front_end.feature_group;
  Stages stages;
  stages.encoder = make_graph_encoder(open(contract::encoder_segment::kGraph),
                                      open(contract::encoder_chunk::kGraph),
                                      chunk ? chunk->states : std::vector<StateSpec>{}, shape);
  const FlowGraphs flow = {
      open(contract::flow_condition::kGraph), open(contract::flow_modulation::kGraph),
      open(contract::flow_field::kGraph), open(contract::flow_encoder::kGraph)};
  stages.flow = [flow](const FlowConfig& config) { return make_graph_flow_decoder(flow, config); };
  const bool draws = manifest.vocoder.source_lookahead_samples > 0;
  stages.vocoder = [graph = open(draws ? contract::vocoder_with_noise::kGraph
                                       : contract::vocoder::kGraph)](const VocoderConfig& config) {
    return make_graph_vocoder(graph, config);
  };
  return stages;
}

std::span<const Family> known_families() {
  static constexpr std::array kFamilies{Family{"covo_audio", build_stages},
                                        Family{"step_audio_2", build_stages},
                                        Family{"fun_audio_chat", build_stages}};
  return kFamilies;
}

const Family& family_of(const Manifest& manifest, std::span<const Family> known) {
  std::string names;
  for (const Family& family : known) {
    if (family.name == manifest.family) return family;
    names += (names.empty() ? "" : ", ") + std::string(family.name);
  }
  throw BundleError("[bundle.open] expected one of the families " + names + ", got \"" +
                    manifest.family + "\"; use a parley that knows it");
}

}  // namespace parley
