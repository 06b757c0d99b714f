// How a recorded turn is cut into segments; knows no model.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "audio/front_end.h"

namespace parley {

// A turn as the published prompt builder cuts it.
struct TurnSegments {
  std::vector<std::vector<float>> segments;  // at input_hz, trimmed and padded
  std::size_t n_features = 0;                // backbone positions of the whole turn
};
TurnSegments cut_turn(std::span<const float> samples, const FrontEndConfig& config);

// Backbone positions of a turn of n samples (before trimming).
std::size_t count_features(std::size_t n_samples, const FrontEndConfig& config);
// The same in pieces that a prompt holds apart: each segment where these keep their own lengths,
// else the whole turn.
std::vector<std::size_t> feature_pieces(std::size_t n_samples, const FrontEndConfig& config);

}  // namespace parley
