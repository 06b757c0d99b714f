// A small flow decoder over formula graphs, for the tests of its stage.
#pragma once
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "fake_flow.h"
#include "stages/flow/decoder.h"
#include "stages/probe.h"

namespace flow_rig {

using namespace parley;

inline constexpr std::size_t kZ = 3;
inline constexpr std::size_t kHidden = 5;
inline constexpr std::size_t kFactor = 4;
inline constexpr std::int64_t kSpeaker = 2;
inline constexpr std::int64_t kModulation = 6;
inline const StopFlag kGo;

inline FlowConfig config_of(std::size_t past, std::size_t lookahead,
                            FlowMode mode = FlowMode::window) {
  FlowConfig config;
  config.mode = mode;
  config.steps.points = 4;
  config.steps.guidance = 0.5F;
  config.z = kZ;
  config.hidden = kHidden;
  config.frames_per_code = kFactor;
  config.codes_per_chunk = 4;
  config.past_codes = past;
  config.lookahead_codes = lookahead;
  config.latent_mean = {0.5F, -1.0F, 2.0F};
  config.latent_var = {4.0F, 1.0F, 0.25F};
  return config;
}

// Two codes and `more` latent frames than they cover; fewer where negative.
inline std::shared_ptr<const Voice> voice_of(int more) {
  Voice voice;
  voice.tokens = {5, 9};
  voice.latents.resize(static_cast<std::size_t>(2 * static_cast<int>(kFactor) + more) * kZ);
  for (std::size_t i = 0; i < voice.latents.size(); ++i) {
    voice.latents[i] = std::cos(static_cast<float>(i));
  }
  voice.speaker = {0.3F, -0.2F};
  return std::make_shared<const Voice>(voice);
}

struct Rig {
  explicit Rig(FlowConfig config, int more_latents = 3)
      : condition(fake::flow_condition(kHidden, kFactor)),
        modulation(fake::flow_modulation(kSpeaker, kModulation)),
        field(fake::flow_field(kHidden, kZ, kModulation)),
        flow(make_graph_flow_decoder({condition, modulation, field}, std::move(config))),
        voice(voice_of(more_latents)),
        state(flow->create_state(voice)) {}

  FlowDecoder::Frames push(std::span<const std::int32_t> codes, bool last, std::vector<float>& out,
                           const StopFlag& stop = kGo) {
    std::vector<float> room((max_frames(flow->shape(), codes.size()) + flow->tail_frames(*voice)) *
                            kZ);
    const auto frames = flow->push(*state, codes, last, room, stop);
    out.insert(out.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(frames.n * kZ));
    return frames;
  }

  const FlowProbe& probe() const { return probe_of<FlowProbe>(*flow); }

  // A whole reply in one push.
  std::vector<float> reply(const std::vector<std::int32_t>& codes, std::uint64_t seed = 1,
                           std::uint32_t number = 0) {
    flow->begin_reply(*state, seed, number);
    std::vector<float> out;
    push(codes, true, out);
    return out;
  }

  std::shared_ptr<fake::Graph> condition, modulation, field;
  std::unique_ptr<FlowDecoder> flow;
  std::shared_ptr<const Voice> voice;
  StatePtr state;
};

inline std::vector<std::int32_t> codes_of(std::size_t n, unsigned seed = 3) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> codes(n);
  for (std::int32_t& code : codes) code = static_cast<std::int32_t>(random() % 50);
  return codes;
}

}  // namespace flow_rig
