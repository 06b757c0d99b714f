// Noise of the flow decoder as a function of (seed, reply, frame, channel); knows no graph.
#include "stages/flow/noise.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/philox.h"

namespace parley {

namespace {

// One counter gives the normal values of four neighbouring channels.
constexpr std::uint32_t kLanes = 4;

std::array<float, kLanes> normals(std::uint64_t seed, std::uint32_t reply, std::int64_t frame,
                                  std::uint32_t group) {
  const auto where = static_cast<std::uint64_t>(frame);
  return normal4(
      {static_cast<std::uint32_t>(where), static_cast<std::uint32_t>(where >> 32U), reply, group},
      seed);
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

void fill_noise(const FlowConfig& config, const NoiseOf& of, std::int64_t first_frame,
                std::span<float> rows) {
  if (config.noise.empty()) {
    fill_flow_noise(of.seed, of.reply, first_frame, config.z, rows);
    return;
  }
  const auto at = static_cast<std::size_t>(first_frame) + of.prompt_frames;
  if (at * config.z + rows.size() > config.noise.size()) {
    throw InputError("[flow_decoder.push] expected noise of at least " +
                     std::to_string(at + rows.size() / config.z) + " frames, got " +
                     std::to_string(config.noise.size() / config.z) +
                     "; give more, or none to draw it");
  }
  const auto from = std::span(config.noise).subspan(at * config.z, rows.size());
  std::copy(from.begin(), from.end(), rows.begin());
}

}  // namespace parley
