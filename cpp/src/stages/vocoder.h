// The vocoder stage: latents to samples; knows no code and no turn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/stop.h"
#include "runners/graph_state.h"
#include "runners/runner.h"
#include "stages/stage.h"

namespace parley {

struct VocoderConfig {
  std::size_t z = 64;
  std::size_t samples_per_latent = 240;
  std::size_t full_lookahead_frames = 13;    // latent frames ahead that a frame's samples depend on
  std::size_t lookahead_frames = 13;         // how many of them are waited for
  std::size_t max_push_frames = 64;          // the most that one push brings
  std::size_t source_lookahead_samples = 0;  // by which a drawn source comes late; 0: none is drawn
  std::vector<float> noise = {};  // one a sample, in place of what is drawn; another system's
};

class Vocoder {
 public:
  virtual ~Vocoder() = default;
  virtual const VocoderConfig& config() const = 0;

  virtual StatePtr create_state() const = 0;
  // What a vocoder draws for a reply is a function of (seed, reply, sample).
  virtual void begin_reply(StageState& state, std::uint64_t seed, std::uint32_t reply) const = 0;
  void begin_reply(StageState& state) const { begin_reply(state, 0, 0); }
  // Adds latent frames `[n, z]` (denormalised); `last` says that none follow. Writes the samples of
  // all frames that have `lookahead_frames` behind them and returns how many; `samples` holds at
  // least (n + lookahead_frames) * samples_per_latent. With the full look-ahead they are the whole
  // run's; with less, the last ones guess what follows.
  virtual std::size_t push(StageState& state, std::span<const float> latents, bool last,
                           std::span<float> samples, const StopFlag& stop) const = 0;
};

std::unique_ptr<Vocoder> make_graph_vocoder(std::shared_ptr<const GraphRunner> graph,
                                            VocoderConfig config);

}  // namespace parley
