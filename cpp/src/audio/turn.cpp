// Cuts a recorded turn into segments and counts its features as the published prompt builder does.
#include "audio/turn.h"

#include <algorithm>

#include "audio/mel.h"
#include "parley/errors.hpp"

namespace parley {

std::size_t count_features(std::size_t n_samples, const FrontEndConfig& config) {
  checked(config);
  std::size_t n = n_samples * static_cast<std::size_t>(config.positions_hz) /
                  static_cast<std::size_t>(config.input_hz);
  for (int i = 0; i < config.feature_halvings; ++i) n = (n + 1) / 2;
  return n;
}

TurnSegments cut_turn(std::span<const float> samples, const FrontEndConfig& config) {
  checked(config);
  const std::size_t trim = static_cast<std::size_t>(config.trim_samples);
  const std::size_t pad = static_cast<std::size_t>(config.pad_samples);
  const std::size_t segment = static_cast<std::size_t>(config.segment_samples);
  const std::span<const float> kept = samples.first(samples.size() / trim * trim);
  const std::size_t n = (kept.size() + pad - 1) / pad * pad;
  TurnSegments turn;
  turn.n_features = count_features(samples.size(), config);
  for (std::size_t begin = 0; begin < n; begin += segment) {
    const std::span<const float> rest = kept.subspan(std::min(begin, kept.size()));
    const std::span<const float> part = rest.first(std::min(rest.size(), segment));
    std::vector<float>& out = turn.segments.emplace_back(part.begin(), part.end());
    out.resize(std::min(segment, n - begin), 0.0F);
  }
  return turn;
}

}  // namespace parley
