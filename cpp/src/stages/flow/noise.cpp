// Noise of the flow decoder as a function of (seed, reply, frame, channel); knows no graph.
#include "stages/flow/noise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "base/philox.h"

namespace parley {

namespace {

// One counter gives the normal values of four neighbouring channels.
constexpr std::uint32_t kLanes = 4;

// In (0, 1): neither end, since the logarithm follows.
double uniform(std::uint32_t bits) {
  return (bits + 0.5) * 0x1p-32;
}

// Box and Muller (1958): two uniform values to two normal ones.
void normal_pair(std::uint32_t a, std::uint32_t b, float* out) {
  const double radius = std::sqrt(-2.0 * std::log(uniform(a)));
  const double angle = 2.0 * std::numbers::pi * uniform(b);
  out[0] = static_cast<float>(radius * std::cos(angle));
  out[1] = static_cast<float>(radius * std::sin(angle));
}

std::array<float, kLanes> normals(std::uint64_t seed, std::uint32_t reply, std::int64_t frame,
                                  std::uint32_t group) {
  const auto where = static_cast<std::uint64_t>(frame);
  const auto bits = philox4x32(
      {static_cast<std::uint32_t>(where), static_cast<std::uint32_t>(where >> 32U), reply, group},
      seed);
  std::array<float, kLanes> out{};
  normal_pair(bits[0], bits[1], out.data());
  normal_pair(bits[2], bits[3], out.data() + 2);
  return out;
}

}  // namespace

float flow_noise(std::uint64_t seed, std::uint32_t reply, std::int64_t frame,
                 std::uint32_t channel) {
  return normals(seed, reply, frame, channel / kLanes)[channel % kLanes];
}

void fill_flow_noise(std::uint64_t seed, std::uint32_t reply, std::int64_t first_frame,
                     std::size_t z, std::span<float> rows) {
  const std::size_t n = rows.size() / z;
  for (std::size_t row = 0; row < n; ++row) {
    const std::int64_t frame = first_frame + static_cast<std::int64_t>(row);
    for (std::size_t begin = 0; begin < z; begin += kLanes) {
      const auto values = normals(seed, reply, frame, static_cast<std::uint32_t>(begin / kLanes));
      std::copy_n(values.begin(), std::min<std::size_t>(kLanes, z - begin),
                  rows.begin() + static_cast<std::ptrdiff_t>(row * z + begin));
    }
  }
}

}  // namespace parley
