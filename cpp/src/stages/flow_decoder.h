// The flow decoder stage: audio codes to latents by flow matching; knows no waveform and no turn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "base/stop.h"
#include "stages/stage.h"

namespace parley {

// Who speaks: what a bundle keeps of a voice. Latents are normalised.
struct Voice {
  std::vector<std::int64_t> tokens;  // [n]
  std::vector<float> latents;        // [frames, z]; more or fewer than n * frames_per_code
  std::vector<float> speaker;        // [speaker width]
};

// What the rest of the engine must know of it.
struct FlowShape {
  std::size_t z = 64;  // width of a latent
  std::size_t frames_per_code = 4;
  std::size_t codes_per_chunk = 4;
  std::size_t lookahead_codes = 0;  // codes that must wait behind a code before it is decoded
  std::size_t codes_per_run = 0;    // that wait for one another; 0: a chunk's

  std::size_t run() const { return codes_per_run > 0 ? codes_per_run : codes_per_chunk; }
  // The most codes that wait where whole chunks of them come, before their sound is made.
  std::size_t waiting_codes() const {
    return lookahead_codes + run() - std::gcd(run(), codes_per_chunk);
  }
};

// Told between the evaluations that set a voice up; what it throws ends the set-up.
using SetupProgress = std::function<void(std::size_t done, std::size_t all)>;

class FlowDecoder {
 public:
  virtual ~FlowDecoder() = default;
  virtual const FlowShape& shape() const = 0;

  // The first state of a voice also sets the voice up; later ones share that.
  virtual StatePtr create_state(std::shared_ptr<const Voice> voice,
                                const SetupProgress& progress) const = 0;
  StatePtr create_state(std::shared_ptr<const Voice> voice) const {
    return create_state(std::move(voice), {});
  }
  // Starts a reply: the noise of latent frame f, channel c is a function of (seed, reply, f, c);
  // that of the voice prompt, which has negative numbers, belongs to the voice: of (0, 0, f, c).
  virtual void begin_reply(StageState& state, std::uint64_t seed, std::uint32_t reply) const = 0;
  // A reply begins behind its voice's latents, as published. Where these are more than the voice's
  // codes cover, they reach into the reply's first frames, see push(). Where they are fewer, the
  // codes' last frames come before those of the reply's first code: this many.
  virtual std::size_t tail_frames(const Voice& voice) const = 0;
  // Adds codes; `last` says that none follow. Writes the latent frames that became final,
  // `[n, z]` denormalised, and returns n. Frames that the voice's latents reach into are not
  // spoken: they come as part of n with `skip` counting them. `latents` holds at least
  // max_frames(shape(), codes.size()) frames, and the voice's tail.
  struct Frames {
    std::size_t n = 0;     // latent frames written
    std::size_t skip = 0;  // of these, how many at the start lie under the voice's latents
  };
  virtual Frames push(StageState& state, std::span<const std::int32_t> codes, bool last,
                      std::span<float> latents, const StopFlag& stop) const = 0;
};

// The most latent frames that one push of n codes gives: own codes go in whole runs, so a single
// code may complete one, and the last push also brings those that were waiting behind the
// look-ahead.
inline std::size_t max_frames(const FlowShape& shape, std::size_t n_codes) {
  return (n_codes + shape.run() - 1 + shape.lookahead_codes) * shape.frames_per_code;
}

}  // namespace parley
