// The spectrum against the transform's definition, for lengths of every kind; knows no audio.
#include "audio/fft.h"

#include <complex>
#include <numbers>
#include <random>

#include "check.h"

using namespace parley;

namespace {

std::vector<double> random_frame(std::size_t n) {
  std::mt19937 random(static_cast<std::uint32_t>(n));
  std::vector<double> frame(n);
  for (double& x : frame) x = std::uniform_real_distribution(-1.0, 1.0)(random);
  return frame;
}

std::vector<double> power(const std::vector<double>& frame) {
  const RealFft fft(frame.size());
  RealFft::Scratch scratch = fft.make_scratch();
  std::vector<double> out(fft.n_bins());
  fft.power(frame, out, scratch);
  return out;
}

double defined_power(const std::vector<double>& frame, std::size_t k) {
  std::complex<double> sum;
  for (std::size_t i = 0; i < frame.size(); ++i) {
    const double turns =
        static_cast<double>(i * k % frame.size()) / static_cast<double>(frame.size());
    sum += frame[i] * std::polar(1.0, -2.0 * std::numbers::pi * turns);
  }
  return std::norm(sum);
}

}  // namespace

TEST(fft_equals_the_definition) {
  const double tolerance = check::tolerance("SPECTRUM_ABS");
  std::vector<std::size_t> lengths{96,  100, 120, 125, 128, 160, 200,
                                   240, 250, 400, 441, 480, 512, 1000};
  for (std::size_t n = 2; n <= 64; ++n) lengths.push_back(n);
  for (const std::size_t n : lengths) {
    const std::vector<double> frame = random_frame(n);
    const std::vector<double> got = power(frame);
    REQUIRE(got.size() == n / 2 + 1);
    for (std::size_t k = 0; k < got.size(); ++k) {
      CHECK_NEAR(got[k], defined_power(frame, k), tolerance * static_cast<double>(n));
    }
  }
}

TEST(fft_goes_there_and_back) {
  const double tolerance = check::tolerance("SPECTRUM_ABS");
  for (const std::size_t n : {2, 3, 5, 7, 8, 15, 160, 240, 320, 441, 480, 960}) {
    const std::vector<double> frame = random_frame(n);
    const RealFft fft(n);
    RealFft::Scratch scratch = fft.make_scratch();
    std::vector<Complex> bins(fft.n_bins());
    std::vector<double> back(n);
    fft.forward(frame, bins, scratch);
    const std::vector<double> powers = power(frame);
    for (std::size_t k = 0; k < bins.size(); ++k)
      CHECK_NEAR(bins[k].re * bins[k].re + bins[k].im * bins[k].im, powers[k], tolerance);
    fft.inverse(bins, back, scratch);
    for (std::size_t i = 0; i < n; ++i) CHECK_NEAR(back[i], frame[i], tolerance);
  }
}

TEST(fft_of_a_tone_is_one_line) {
  const double tolerance = 400.0 * check::tolerance("SPECTRUM_ABS");
  std::vector<double> frame(400);
  for (std::size_t i = 0; i < 400; ++i) {
    frame[i] = std::cos(2.0 * std::numbers::pi * 37.0 * static_cast<double>(i) / 400.0);
  }
  const std::vector<double> got = power(frame);
  for (std::size_t k = 0; k < got.size(); ++k)
    CHECK_NEAR(got[k], k == 37 ? 40000.0 : 0.0, tolerance);
}

TEST(fft_of_silence_is_silence) {
  for (const double value : power(std::vector<double>(400, 0.0))) CHECK_EQ(value, 0.0);
}
