// Tests of the flow decoder's noise: published vectors, statistics, independence of cuts.
#include <vector>

#include "base/philox.h"
#include "check.h"
#include "stages/flow/noise.h"

using namespace parley;

// Known answers that accompany the Random123 library of the paper's authors.
TEST(philox_gives_the_published_vectors) {
  using Counter = std::array<std::uint32_t, 4>;
  CHECK(philox4x32({0, 0, 0, 0}, 0) == Counter({0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t ones = 0xffffffff;
  CHECK(philox4x32({ones, ones, ones, ones}, ~std::uint64_t{0}) ==
        Counter({0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822) ==
        Counter({0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(noise_has_mean_0_and_variance_1) {
  constexpr std::size_t kWidth = 64;
  constexpr std::size_t kRows = 4000;
  std::vector<float> rows(kRows * kWidth);
  fill_flow_noise(42, 3, -1000, kWidth, rows);
  double mean = 0;
  double square = 0;
  double fourth = 0;
  double neighbours = 0;  // of one row
  double successive = 0;  // of one channel
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double x = rows[i];
    CHECK(std::isfinite(x));
    mean += x;
    square += x * x;
    fourth += x * x * x * x;
    if (i + 1 < rows.size()) neighbours += x * rows[i + 1];
    if (i + kWidth < rows.size()) successive += x * rows[i + kWidth];
  }
  const auto n = static_cast<double>(rows.size());
  // Six standard errors of each estimate.
  const double six = 6 / std::sqrt(n);
  CHECK_NEAR(mean / n, 0, six);
  CHECK_NEAR(square / n, 1, six * std::sqrt(2.0));
  CHECK_NEAR(fourth / n, 3, six * std::sqrt(96.0));
  CHECK_NEAR(neighbours / n, 0, six);
  CHECK_NEAR(successive / n, 0, six);
}

TEST(rows_are_the_single_values_however_they_are_cut) {
  constexpr std::size_t kWidth = 6;  // no multiple of a counter's four values
  std::vector<float> whole(40 * kWidth);
  fill_flow_noise(7, 2, -15, kWidth, whole);
  for (std::int64_t frame = -15; frame < 25; ++frame) {
    std::vector<float> row(kWidth);
    fill_flow_noise(7, 2, frame, kWidth, row);
    for (std::uint32_t c = 0; c < kWidth; ++c) {
      const float one = flow_noise(7, 2, frame, c);
      CHECK_EQ(one, row[c]);
      CHECK_EQ(one, whole[static_cast<std::size_t>(frame + 15) * kWidth + c]);
    }
  }
}

TEST(every_coordinate_counts) {
  const float value = flow_noise(7, 2, 5, 1);
  CHECK(value == flow_noise(7, 2, 5, 1));
  CHECK(value != flow_noise(8, 2, 5, 1));
  CHECK(value != flow_noise(7 + (std::uint64_t{1} << 32U), 2, 5, 1));
  CHECK(value != flow_noise(7, 3, 5, 1));
  CHECK(value != flow_noise(7, 2, 6, 1));
  CHECK(value != flow_noise(7, 2, -5, 1));
  CHECK(value != flow_noise(7, 2, 5 + (std::int64_t{1} << 32U), 1));
  CHECK(value != flow_noise(7, 2, 5, 0));
  CHECK(value != flow_noise(7, 2, 5, 5));
}
