// Cutting a turn into segments and counting its features, as published; encodes nothing.
#include "audio/turn.h"
#include "check.h"
#include "parley/errors.hpp"

using namespace parley;

namespace {

std::vector<float> ramp(std::size_t n) {
  std::vector<float> samples(n);
  for (std::size_t i = 0; i < n; ++i) samples[i] = static_cast<float>(i + 1);
  return samples;
}

}  // namespace

TEST(turn_is_trimmed_and_padded) {
  const FrontEndConfig c;
  const struct {
    std::size_t n;
    std::size_t length;  // of the only segment; 0: no segment
    std::size_t kept;    // samples that are the turn's own
  } cases[] = {{0, 0, 0},       {1, 0, 0},       {239, 0, 0},    {240, 480, 240},
               {479, 480, 240}, {480, 480, 480}, {750, 960, 720}};
  for (const auto& e : cases) {
    const TurnSegments turn = cut_turn(ramp(e.n), c);
    CHECK_EQ(turn.segments.size(), e.length > 0 ? 1U : 0U);
    if (turn.segments.empty()) continue;
    const std::vector<float>& segment = turn.segments[0];
    REQUIRE(segment.size() == e.length);
    CHECK_EQ(segment[e.kept - 1], static_cast<float>(e.kept));
    for (std::size_t i = e.kept; i < e.length; ++i) CHECK_EQ(segment[i], 0.0F);
  }
}

TEST(turn_is_cut_into_segments) {
  FrontEndConfig c;
  c.segment_samples = 1000;  // a segment may end inside the padding
  const TurnSegments turn = cut_turn(ramp(2700), c);
  REQUIRE(turn.segments.size() == 3);
  CHECK_EQ(turn.segments[0].size(), 1000U);
  CHECK_EQ(turn.segments[1].size(), 1000U);
  CHECK_EQ(turn.segments[2].size(), 880U);
  CHECK_EQ(turn.segments[1][0], 1001.0F);
  CHECK_EQ(turn.segments[2][639], 2640.0F);
  CHECK_EQ(turn.segments[2][640], 0.0F);
  CHECK_EQ(cut_turn(ramp(720000), FrontEndConfig()).segments.size(), 1U);
  CHECK_EQ(cut_turn(ramp(720240), FrontEndConfig()).segments.size(), 2U);
}

TEST(turn_features_are_counted_as_published) {
  const FrontEndConfig c;
  CHECK_EQ(count_features(0, c), 0U);
  CHECK_EQ(count_features(239, c), 0U);
  CHECK_EQ(count_features(240, c), 1U);
  CHECK_EQ(count_features(3840, c), 1U);
  CHECK_EQ(count_features(3840 + 240, c), 2U);
  CHECK_EQ(count_features(720000, c), 188U);
  CHECK_EQ(count_features(57600000, c), 15000U);  // 40 minutes
  CHECK_EQ(cut_turn(ramp(10000), c).n_features, count_features(10000, c));
}

TEST(turn_refuses_an_impossible_config) {
  FrontEndConfig c;
  c.trim_samples = 0;
  CHECK_THROWS_MSG(InputError, "trim_samples", cut_turn(ramp(10), c));
  c = FrontEndConfig();
  c.input_hz = 0;
  CHECK_THROWS_MSG(InputError, "input_hz", count_features(10, c));
}
