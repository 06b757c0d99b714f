// Gains from the regression, applied between two half-overlapping windows.
#include "live/echo/residual_suppressor.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace parley::live {

namespace {

constexpr double kSmoothing = 0.95;
constexpr double kOver = 2.0;     // the regression is of means; peaks stand above them
constexpr double kFloor = 0.01;   // power: -20 dB
constexpr double kRelease = 0.5;  // of a falling gain per block; a rising one is taken at once

double power_of(Complex a) {
  return a.re * a.re + a.im * a.im;
}

}  // namespace

ResidualSuppressor::ResidualSuppressor(std::size_t block)
    : block_(block),
      fft_(2 * block),
      scratch_(fft_.make_scratch()),
      window_(2 * block),
      last_echo_(block),
      last_rest_(block),
      tail_(block),
      frame_(2 * block),
      echo_bins_(block + 1),
      rest_bins_(block + 1),
      gain_(block + 1, 1.0) {
  for (std::size_t i = 0; i < 2 * block; ++i)
    window_[i] =
        std::sin(std::numbers::pi * static_cast<double>(i) / static_cast<double>(2 * block));
}

void ResidualSuppressor::reset() {
  for (auto* part : {&last_echo_, &last_rest_, &tail_}) std::fill(part->begin(), part->end(), 0.0);
  std::fill(gain_.begin(), gain_.end(), 1.0);
  both_ = squares_ = power_ = 0;
}

void ResidualSuppressor::run(std::span<const double> echo, std::span<const double> rest,
                             std::span<float> out) {
  const auto window = [&](std::vector<double>& last, std::span<const double> now,
                          std::vector<Complex>& bins) {
    for (std::size_t i = 0; i < block_; ++i) {
      frame_[i] = last[i] * window_[i];
      frame_[block_ + i] = now[i] * window_[block_ + i];
      last[i] = now[i];
    }
    fft_.forward(frame_, bins, scratch_);
  };
  window(last_echo_, echo, echo_bins_);
  window(last_rest_, rest, rest_bins_);
  double both = 0;
  double squares = 0;
  for (std::size_t k = 0; k <= block_; ++k) {
    const double y = power_of(echo_bins_[k]);
    both += power_of(rest_bins_[k]) * y;
    squares += y * y;
  }
  both_ = kSmoothing * both_ + (1.0 - kSmoothing) * both;
  squares_ = kSmoothing * squares_ + (1.0 - kSmoothing) * squares;
  const double left = kOver * std::clamp(both_ / (squares_ + 1e-20), 0.0, 1.0);
  for (std::size_t k = 0; k <= block_; ++k) {
    const double residue = left * power_of(echo_bins_[k]);
    const double wanted =
        std::sqrt(std::clamp(1.0 - residue / (power_of(rest_bins_[k]) + 1e-20), kFloor, 1.0));
    gain_[k] = wanted > gain_[k] ? wanted : kRelease * gain_[k] + (1.0 - kRelease) * wanted;
    rest_bins_[k].re *= gain_[k];
    rest_bins_[k].im *= gain_[k];
  }
  fft_.inverse(rest_bins_, frame_, scratch_);
  power_ = 0;
  for (std::size_t i = 0; i < block_; ++i) {
    const double x = tail_[i] + frame_[i] * window_[i];
    tail_[i] = frame_[block_ + i] * window_[block_ + i];
    out[i] = static_cast<float>(x);
    power_ += x * x / static_cast<double>(block_);
  }
}

}  // namespace parley::live
