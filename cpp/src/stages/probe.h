// What verification and measurements ask of a stage and no conversation does; a family's stage has
// it beside its own interface, where there are published numbers to compare with.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/stop.h"
#include "parley/errors.hpp"
#include "stages/flow_decoder.h"

namespace parley {

class EncoderProbe {
 public:
  virtual ~EncoderProbe() = default;
  struct Rows {
    std::vector<float> encoded;   // [rows, encoded_width()], before the adapter
    std::vector<float> features;  // [rows, width]
  };
  virtual std::size_t encoded_width() const = 0;
  // A segment as Encoder::encode_segment() takes it.
  virtual Rows encode(std::span<const float> log_mel, const StopFlag& stop) const = 0;
};

// After the first step and at the end: normalised latents [frames, z], the prompt's first.
struct FlowTrajectory {
  std::vector<float> first_step;
  std::vector<float> final_step;
};

class FlowProbe {
 public:
  virtual ~FlowProbe() = default;

  // One evaluation of the field at time t: `inputs` [branches, frames, width of a row] -> velocity
  // [branches, frames, z].
  virtual std::vector<float> evaluate(const Voice& voice, std::span<const float> inputs,
                                      std::size_t branches, std::size_t frames, float t,
                                      const StopFlag& stop) const = 0;

  // The whole utterance at once, exact. `noise` [prompt + reply frames, z], empty: from (seed, 0).
  // `trajectory` may be null.
  virtual std::vector<float> decode(const Voice& voice, std::span<const std::int32_t> codes,
                                    std::span<const float> noise, std::uint64_t seed,
                                    FlowTrajectory* trajectory, const StopFlag& stop) const = 0;

  // What a voice takes: memory that its states share, memory of each state, and the evaluations of
  // the field over the whole prompt that fill the shared part, once.
  struct Costs {
    std::size_t voice_bytes = 0;
    std::size_t state_bytes = 0;
    std::size_t setup_evaluations = 0;
    std::size_t prompt_frames = 0;
  };
  virtual Costs costs(const Voice& voice) const = 0;
};

// A stage's probe. Throws InputError where its family has none.
template <typename Probe, typename Stage>
const Probe& probe_of(const Stage& stage) {
  const auto* probe = dynamic_cast<const Probe*>(&stage);
  if (probe != nullptr) return *probe;
  throw InputError(
      "[workbench.probe] expected a stage that can be verified by itself, got one that only speaks "
      "and listens; verify its graphs with --inside");
}

}  // namespace parley
