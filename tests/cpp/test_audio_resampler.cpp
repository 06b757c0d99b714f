// The resampler: its formula, tones, and streams cut anywhere against the whole signal.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>

#include "audio/resampler.h"
#include "check.h"
#include "parley/errors.hpp"

using namespace parley;

namespace {

constexpr int kZeros = 6;
constexpr double kRolloff = 0.99;

struct Ratio {
  int from;
  int to;
};

const Ratio kRatios[] = {{8000, 24000},  {11025, 24000}, {16000, 24000}, {22050, 24000},
                         {24000, 24000}, {32000, 24000}, {44100, 24000}, {48000, 24000},
                         {96000, 24000}, {24000, 16000}};

std::vector<float> noise(std::size_t n, std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<float> samples(n);
  for (float& x : samples) x = std::uniform_real_distribution(-1.0F, 1.0F)(random);
  return samples;
}

std::vector<float> tone(std::size_t n, double hz, int rate) {
  std::vector<float> samples(n);
  for (std::size_t i = 0; i < n; ++i) {
    samples[i] =
        static_cast<float>(std::sin(2.0 * std::numbers::pi * hz * static_cast<double>(i) / rate));
  }
  return samples;
}

// The band-limited signal at time m / to, summed over every input sample in reach.
double formula(const std::vector<float>& samples, std::int64_t m, Ratio ratio) {
  const double cutoff = kRolloff * std::min(ratio.from, ratio.to) / 2.0;  // Hz
  const double moment = static_cast<double>(m) / ratio.to;                // s
  double sum = 0.0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double crossings = 2.0 * cutoff * (moment - static_cast<double>(i) / ratio.from);
    if (std::abs(crossings) >= kZeros) continue;
    const double x = std::numbers::pi * crossings;
    const double sinc = x == 0.0 ? 1.0 : std::sin(x) / x;
    const double hann = 0.5 + 0.5 * std::cos(x / kZeros);
    sum += samples[i] * sinc * hann;
  }
  return sum * 2.0 * cutoff / ratio.from;
}

std::vector<float> streamed(StreamingResampler& resampler, const std::vector<float>& samples,
                            std::size_t max_piece, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> out;
  for (std::size_t at = 0; at < samples.size();) {
    const std::size_t n = std::min(samples.size() - at, std::size_t{random() % (max_piece + 1)});
    std::vector<float> piece(resampler.max_output(n));
    piece.resize(resampler.push(std::span(samples).subspan(at, n), piece));
    out.insert(out.end(), piece.begin(), piece.end());
    at += n;
  }
  std::vector<float> tail(resampler.max_output(0));
  tail.resize(resampler.finish(tail));
  out.insert(out.end(), tail.begin(), tail.end());
  return out;
}

std::vector<float> whole(const std::vector<float>& samples, Ratio ratio) {
  return resample(samples, ratio.from, ratio.to, kZeros, kRolloff);
}

}  // namespace

TEST(resampler_follows_its_formula) {
  const double tolerance = check::tolerance("RESAMPLED_ABS");
  const std::vector<float> samples = noise(300);
  for (const Ratio ratio : kRatios) {
    if (ratio.from == ratio.to) continue;
    const std::vector<float> out = whole(samples, ratio);
    for (std::size_t m = 0; m < out.size(); ++m) {
      CHECK_NEAR(out[m], formula(samples, static_cast<std::int64_t>(m), ratio), tolerance);
    }
  }
}

TEST(resampler_gives_the_length_that_it_states) {
  for (const Ratio ratio : kRatios) {
    for (const std::size_t n : {0U, 1U, 2U, 3U, 147U, 1000U, 1001U}) {
      const std::size_t scaled = n * static_cast<std::size_t>(ratio.to);
      const std::size_t from = static_cast<std::size_t>(ratio.from);
      CHECK_EQ(whole(noise(n), ratio).size(), (scaled + from - 1) / from);
    }
  }
}

TEST(resampler_of_one_rate_changes_nothing) {
  const std::vector<float> samples = noise(5000);
  CHECK(whole(samples, {24000, 24000}) == samples);
  CHECK_EQ(StreamingResampler(16000, 16000, kZeros, kRolloff, 10).lookahead(), 0U);
}

TEST(resampler_keeps_tones_and_drops_what_does_not_fit) {
  const double passed = check::tolerance("RESAMPLED_TONE_ABS");
  const double stopped = check::tolerance("RESAMPLED_STOP_ABS");
  for (const Ratio ratio : kRatios) {
    const std::vector<float> out =
        whole(tone(static_cast<std::size_t>(ratio.from), 1000.0, ratio.from), ratio);
    const std::vector<float> ideal = tone(out.size(), 1000.0, ratio.to);
    for (std::size_t i = 200; i + 200 < out.size(); ++i) CHECK_NEAR(out[i], ideal[i], passed);
  }
  const std::vector<float> high = whole(tone(24000, 11000.0, 24000), {24000, 16000});
  for (std::size_t i = 200; i + 200 < high.size(); ++i) CHECK_NEAR(high[i], 0.0, stopped);
}

TEST(resampler_streams_equal_the_whole) {
  for (const Ratio ratio : kRatios) {
    for (const std::size_t n : {0U, 1U, 7U, 500U, 9001U}) {
      const std::vector<float> samples = noise(n, 5);
      const std::vector<float> expected = whole(samples, ratio);
      for (const std::size_t max_piece : {1U, 40U, 3000U}) {
        // Pieces may exceed max_push.
        StreamingResampler resampler(ratio.from, ratio.to, kZeros, kRolloff, 512);
        CHECK(streamed(resampler, samples, max_piece, 9) == expected);
        resampler.reset();
        CHECK(streamed(resampler, samples, max_piece, 10) == expected);
      }
    }
  }
}

TEST(resampler_delays_no_more_than_its_lookahead) {
  CHECK_EQ(StreamingResampler(24000, 16000, kZeros, kRolloff, 1).lookahead(), 10U);
  for (const Ratio ratio : kRatios) {
    StreamingResampler resampler(ratio.from, ratio.to, kZeros, kRolloff, 8);
    const std::size_t lookahead = resampler.lookahead();
    std::vector<float> out(resampler.max_output(1));
    std::size_t n_out = 0;
    for (std::size_t n_in = 1; n_in < 2000; ++n_in) {
      n_out += resampler.push(std::vector<float>{0.5F}, out);
      if (n_in < lookahead) continue;
      // Outputs at times before n_in - lookahead.
      const std::size_t scaled = (n_in - lookahead) * static_cast<std::size_t>(ratio.to);
      CHECK(n_out >= (scaled + static_cast<std::size_t>(ratio.from) - 1) /
                         static_cast<std::size_t>(ratio.from));
    }
  }
}

TEST(resampler_copies_are_states) {
  const std::vector<float> samples = noise(4000);
  const std::span<const float> first(samples.data(), 1500);
  const std::span<const float> second(samples.data() + 1500, 2500);
  StreamingResampler a(44100, 24000, kZeros, kRolloff, 512);
  std::vector<float> out(a.max_output(4000));
  a.push(first, out);
  StreamingResampler b = a;
  std::vector<float> out_a(a.max_output(4000));
  std::vector<float> out_b(a.max_output(4000));
  out_a.resize(a.push(second, out_a));
  b.push(first, out);
  b = StreamingResampler(44100, 24000, kZeros, kRolloff, 512);
  b.push(first, out);
  out_b.resize(b.push(second, out_b));
  CHECK(out_a == out_b);
}

TEST(resampler_refuses_what_it_cannot_do) {
  CHECK_THROWS_MSG(InputError, "[audio.resample]", resample({}, 0, 24000, kZeros, kRolloff));
  CHECK_THROWS_MSG(InputError, "[audio.resample]", resample({}, 24000, -1, kZeros, kRolloff));
  CHECK_THROWS_MSG(InputError, "[audio.resample]", resample({}, 24000, 16000, 0, kRolloff));
  CHECK_THROWS_MSG(InputError, "[audio.resample]", resample({}, 24000, 16000, kZeros, 1.5));
  StreamingResampler resampler(24000, 16000, kZeros, kRolloff, 100);
  std::vector<float> small(3);
  CHECK_THROWS_MSG(InputError, "max_output", resampler.push(std::vector<float>(100), small));
  CHECK_THROWS_MSG(InputError, "max_output", resampler.finish(small));
}
