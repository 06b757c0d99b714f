// Cuts a recorded turn into segments and counts its features as the published prompt builder does.
#include "audio/turn.h"

#include <algorithm>

#include "audio/log_mel.h"
#include "audio/mel.h"
#include "parley/errors.hpp"

namespace parley {

namespace {

// Of a segment that was not filled up with silence.
std::size_t count_piece(std::size_t n_samples, const FrontEndConfig& config) {
  if (config.feature_rows_hz > 0) {
    // In double precision and cut off, as published: a few lengths come out one row short.
    const double seconds = static_cast<double>(n_samples) / config.input_hz;
    const auto rows = static_cast<std::size_t>(seconds * config.feature_rows_hz);
    return grouped(rows, config.feature_group);
  }
  const std::size_t frames = segment_mel_frames(n_samples, config);
  const auto hidden = static_cast<std::size_t>(config.hidden_mel_frames);
  return halved(frames - std::min(frames, hidden), config.feature_halvings, config.pooled_halving);
}

template <typename Take>
void for_pieces(std::size_t n_samples, const FrontEndConfig& config, const Take& take) {
  if (!config.own_lengths()) {
    const std::size_t n = n_samples * static_cast<std::size_t>(config.positions_hz) /
                          static_cast<std::size_t>(config.input_hz);
    take(halved(n, config.feature_halvings, config.pooled_halving));
    return;
  }
  const auto segment = static_cast<std::size_t>(config.segment_samples);
  for (; n_samples > 0; n_samples -= std::min(n_samples, segment))
    take(count_piece(std::min(n_samples, segment), config));
}

}  // namespace

std::size_t count_features(std::size_t n_samples, const FrontEndConfig& config) {
  std::size_t n = 0;
  for_pieces(n_samples, checked(config), [&](std::size_t piece) { n += piece; });
  return n;
}

std::vector<std::size_t> feature_pieces(std::size_t n_samples, const FrontEndConfig& config) {
  std::vector<std::size_t> pieces;
  for_pieces(n_samples, checked(config), [&](std::size_t piece) { pieces.push_back(piece); });
  return pieces;
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
