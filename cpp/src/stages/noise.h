// Noise as a function of where it is used, so that it does not depend on how a stream was cut.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace parley {

// Philox4x32-10. Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2,
// 3" (2011).
constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32U) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32U) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(p0)};
    key = {key[0] + 0x9E3779B9U, key[1] + 0xBB67AE85U};
  }
  return counter;
}

// Latent frames first_frame, first_frame + 1, ... of a reply: `rows` [n, z], each value as
// flow_noise() gives it.
void fill_flow_noise(std::uint64_t seed, std::uint32_t reply, std::int64_t first_frame,
                     std::size_t z, std::span<float> rows);

}  // namespace parley
