// Counter-based random numbers: a value is a function of counter and key, so a stream can be cut or
// repeated anywhere. Source: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, 2011).
#pragma once
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>

namespace parley {

constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::uint64_t key) {
  auto low = static_cast<std::uint32_t>(key);
  auto high = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ low, static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ high, static_cast<std::uint32_t>(a)};
    low += 0x9E3779B9;
    high += 0xBB67AE85;
  }
  return counter;
}

// Four standard normal values. Source: Box and Muller (1958).
inline std::array<float, 4> normal4(std::array<std::uint32_t, 4> counter, std::uint64_t key) {
  const std::array<std::uint32_t, 4> bits = philox4x32(counter, key);
  std::array<float, 4> out{};
  for (std::size_t i = 0; i < out.size(); i += 2) {
    // In (0, 1): neither end, since the logarithm follows.
    const double radius = std::sqrt(-2.0 * std::log((bits[i] + 0.5) * 0x1p-32));
    const double angle = 2.0 * std::numbers::pi * ((bits[i + 1] + 0.5) * 0x1p-32);
    out[i] = static_cast<float>(radius * std::cos(angle));
    out[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return out;
}

}  // namespace parley
