// The Kalman filter's recursion per bin and partition.
#include "live/echo/echo_filter.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace parley::live {

namespace {

constexpr double kTiny = 1e-9;
constexpr double kSmoothing = 0.9;
// A path must end after one block, or it wraps around. Doing that to every partition in every block
// costs most of the time; in turn it holds as well.
constexpr std::size_t kConstrainEvery = 4;
constexpr double kSamePath = 0.6;  // likeness below which a path is another one

Complex times(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
double power(Complex a) {
  return a.re * a.re + a.im * a.im;
}

}  // namespace

EchoFilter::EchoFilter(std::size_t block, std::size_t partitions)
    : block_(block),
      bins_(block + 1),
      partitions_(partitions),
      fft_(2 * block),
      scratch_(fft_.make_scratch()),
      before_(block),
      frame_(2 * block),
      spectrum_(bins_),
      inputs_(partitions * bins_),
      path_(partitions * bins_),
      marked_(partitions * bins_),
      unsure_(partitions * bins_),
      rest_power_(bins_) {
  reset();
}

void EchoFilter::forget() {
  std::fill(path_.begin(), path_.end(), Complex{});
  std::fill(unsure_.begin(), unsure_.end(), 1.0);
}

void EchoFilter::reset() {
  forget();
  std::fill(inputs_.begin(), inputs_.end(), Complex{});
  std::fill(before_.begin(), before_.end(), 0.0);
  std::fill(rest_power_.begin(), rest_power_.end(), 1e-6);
  mark();
}

void EchoFilter::run(std::span<const double> loudspeaker, std::span<const double> microphone,
                     std::span<double> echo, std::span<double> rest) {
  std::copy(before_.begin(), before_.end(), frame_.begin());
  std::copy(loudspeaker.begin(), loudspeaker.end(),
            frame_.begin() + static_cast<std::ptrdiff_t>(block_));
  std::copy(loudspeaker.begin(), loudspeaker.end(), before_.begin());
  newest_ = (newest_ + partitions_ - 1) % partitions_;
  fft_.forward(frame_, std::span(inputs_).subspan(newest_ * bins_, bins_), scratch_);
  estimate(echo);
  for (std::size_t i = 0; i < block_; ++i) rest[i] = microphone[i] - echo[i];
  std::fill_n(frame_.begin(), block_, 0.0);
  std::copy(rest.begin(), rest.end(), frame_.begin() + static_cast<std::ptrdiff_t>(block_));
  fft_.forward(frame_, spectrum_, scratch_);
  for (std::size_t k = 0; k < bins_; ++k)
    rest_power_[k] = kSmoothing * rest_power_[k] + (1.0 - kSmoothing) * power(spectrum_[k]);
  learn();
  for (std::size_t p = next_constrained_; p < partitions_; p += kConstrainEvery) constrain(p);
  next_constrained_ = (next_constrained_ + 1) % kConstrainEvery;
}

void EchoFilter::estimate(std::span<double> echo) {
  std::fill(spectrum_.begin(), spectrum_.end(), Complex{});
  for (std::size_t p = 0; p < partitions_; ++p) {
    const Complex* x = &inputs_[(newest_ + p) % partitions_ * bins_];
    const Complex* w = &path_[p * bins_];
    for (std::size_t k = 0; k < bins_; ++k) {
      const Complex y = times(x[k], w[k]);
      spectrum_[k].re += y.re;
      spectrum_[k].im += y.im;
    }
  }
  fft_.inverse(spectrum_, frame_, scratch_);
  std::copy_n(frame_.begin() + static_cast<std::ptrdiff_t>(block_), block_, echo.begin());
}

// Half of a frame of two blocks is new, hence the factors of one half.
void EchoFilter::learn() {
  const double kept = memory_ * memory_;
  for (std::size_t k = 0; k < bins_; ++k) {
    double doubt = 0;
    for (std::size_t p = 0; p < partitions_; ++p)
      doubt += power(inputs_[(newest_ + p) % partitions_ * bins_ + k]) * unsure_[p * bins_ + k];
    const double whole = 0.5 * doubt + rest_power_[k] + kTiny;
    for (std::size_t p = 0; p < partitions_; ++p) {
      const Complex x = inputs_[(newest_ + p) % partitions_ * bins_ + k];
      Complex& w = path_[p * bins_ + k];
      double& unsure = unsure_[p * bins_ + k];
      const double gain = unsure / whole;
      const Complex step = times({x.re, -x.im}, spectrum_[k]);
      w.re += gain * step.re;
      w.im += gain * step.im;
      unsure = kept * (1.0 - 0.5 * gain * power(x)) * unsure + (1.0 - kept) * power(w) + 1e-12;
    }
  }
}

void EchoFilter::constrain(std::size_t partition) {
  const std::span<Complex> w = std::span(path_).subspan(partition * bins_, bins_);
  fft_.inverse(w, frame_, scratch_);
  std::fill(frame_.begin() + static_cast<std::ptrdiff_t>(block_), frame_.end(), 0.0);
  fft_.forward(frame_, w, scratch_);
}

void EchoFilter::mark() {
  marked_ = path_;
}

// A delay turns the phase in proportion to the frequency: the weighted slope of the phase between
// both paths, over the lower half of the band, where a shift of samples does not wrap.
bool EchoFilter::shift(double& samples) const {
  double slope = 0, weight = 0, like = 0, now = 0, then = 0;
  for (std::size_t k = 5; k < bins_ / 2; ++k) {
    Complex c;
    for (std::size_t p = 0; p < partitions_; ++p) {
      const Complex a = path_[p * bins_ + k];
      const Complex b = marked_[p * bins_ + k];
      const Complex product = times(a, {b.re, -b.im});
      c.re += product.re;
      c.im += product.im;
      now += power(a);
      then += power(b);
    }
    const double size = std::sqrt(power(c));
    const double turn = std::numbers::pi * static_cast<double>(k) / static_cast<double>(block_);
    slope -= size * turn * std::atan2(c.im, c.re);
    weight += size * turn * turn;
    like += size;
  }
  if (weight <= 0 || like < kSamePath * std::sqrt(now * then)) return false;
  samples = slope / weight;
  return true;
}

}  // namespace parley::live
