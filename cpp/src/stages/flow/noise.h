// Noise as a function of where it is used, so that it does not depend on how a stream was cut.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "stages/flow/config.h"

namespace parley {

// Standard normal value of one latent channel; source: Philox4x32-10 (Salmon et al., 2011) and the
// Box-Muller transform. Prompt frames have negative numbers.
float flow_noise(std::uint64_t seed, std::uint32_t reply, std::int64_t frame,
                 std::uint32_t channel);

// Latent frames first_frame, first_frame + 1, ... of a reply: `rows` [n, z], each value as
// flow_noise() gives it.
void fill_flow_noise(std::uint64_t seed, std::uint32_t reply, std::int64_t first_frame,
                     std::size_t z, std::span<float> rows);

// Of a reply whose voice has so many frames.
struct NoiseOf {
  std::uint64_t seed = 0;
  std::uint32_t reply = 0;
  std::size_t prompt_frames = 0;
};
// The same, or what the config gives in its place. Throws InputError where that is too short.
void fill_noise(const FlowConfig& config, const NoiseOf& of, std::int64_t first_frame,
                std::span<float> rows);

}  // namespace parley
