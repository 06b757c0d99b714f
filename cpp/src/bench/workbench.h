// Single stages of an opened bundle, run by the engine's own code, so that they can be verified.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "audio/turn.h"
#include "bundle/bundle.h"
#include "session/listen/parts.h"
#include "session/think/sampler.h"
#include "stages/probe.h"

namespace parley {

// One reply after another through the vocoder, push by push. Not thread-safe.
class VocoderStream {
 public:
  explicit VocoderStream(std::shared_ptr<const Vocoder> vocoder);
  void begin();
  std::vector<float> push(std::span<const float> latents, bool last);

 private:
  std::shared_ptr<const Vocoder> vocoder_;
  StatePtr state_;
};

// Not thread-safe. Whole arrays in, whole arrays out; for verification and measurements, not for
// speed.
class Workbench {
 public:
  // `flow`: instead of the settings that the bundle was opened with.
  // `noise` [n, z]: the flow decoder's from the voice's first frame on; empty: drawn.
  Workbench(std::shared_ptr<const Bundle::Impl> bundle, const std::string& voice,
            const FlowSettings& flow = {}, std::vector<float> noise = {});

  const Bundle::Impl& bundle() const { return *bundle_; }

  std::vector<float> resample(std::span<const float> samples, int from_hz, int to_hz) const;
  TurnSegments cut(std::span<const float> samples) const;
  std::vector<float> log_mel(std::span<const float> segment) const;  // [n_mels, mel frames]
  EncoderProbe::Rows encode_segment(std::span<const float> log_mel) const;
  std::size_t encoded_width() const;
  // [n, width], by the listeners that sessions use.
  // `short_segments`: instead of the manifest's.
  std::vector<float> turn_features(std::span<const float> samples,
                                   std::optional<bool> short_segments) const;
  std::vector<float> chunk_features(std::span<const float> samples) const;

  // `pieces`: features of each piece that the prompt holds apart.
  std::vector<std::int32_t> turn_ids(const std::vector<std::size_t>& pieces, bool first,
                                     const std::optional<std::string>& system) const;
  void reset_backbone();
  // Placeholder ids take the rows of `features` `[n, width]` in order. Returns the last logits.
  std::span<const float> feed(std::span<const std::int32_t> ids, std::span<const float> features);
  void begin_turn(std::span<const std::int32_t> ids);
  std::int32_t pick(std::span<const float> logits);  // greedy, with the bundle's penalties

  // `inputs` [batch, frames, width of a row] at time t -> velocity [batch, frames, z].
  std::vector<float> flow_field(std::span<const float> inputs, std::size_t batch,
                                std::size_t frames, float t) const;
  struct Flow {
    std::vector<float> latents;  // [n, z] of the reply
    FlowTrajectory trajectory;
  };
  Flow flow_decode(std::span<const std::int32_t> codes, std::span<const float> noise,
                   std::uint64_t seed) const;
  FlowProbe::Costs flow_costs() const { return flow_probe().costs(*voice_); }
  // A reply as a session makes it, push by push: its latents without those under the voice prompt.
  void flow_begin(std::uint64_t seed);
  std::vector<float> flow_push(std::span<const std::int32_t> codes, bool last);
  // Through the streaming forms, `cut` codes or latent frames at a time.
  std::vector<float> flow_stream(std::span<const std::int32_t> codes, std::uint64_t seed,
                                 std::size_t cut);
  // `noise`: of a vocoder that draws some, one a sample, in place of what it would draw.
  std::vector<float> vocode(std::span<const float> latents, std::span<const float> noise) const;
  std::vector<float> vocode_stream(std::span<const float> latents, std::size_t cut) const;
  // A stream of its own, with another look-ahead than the bundle's where one is given.
  VocoderStream vocoder_stream(std::optional<std::size_t> lookahead_frames) const;

 private:
  ListenerParts listener_parts() const;
  const FlowProbe& flow_probe() const { return probe_of<FlowProbe>(*flow_); }

  std::shared_ptr<const Bundle::Impl> bundle_;
  std::shared_ptr<const Voice> voice_;
  std::shared_ptr<const FlowDecoder> flow_;
  StatePtr flow_state_;                       // made at the first flow_begin
  std::shared_ptr<const Backbone> backbone_;  // made at the first feed
  StatePtr backbone_state_;
  std::optional<Sampler> sampler_;
  StopFlag never_;
};

}  // namespace parley
