// The kernel's table and its use.
#include "live/fractional_reader.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace parley::live {

namespace {

constexpr std::size_t kTaps = 16;
constexpr std::size_t kPhases = 256;

std::vector<float> make_kernel() {
  std::vector<float> kernel((kPhases + 1) * kTaps);
  for (std::size_t p = 0; p <= kPhases; ++p) {
    for (std::size_t i = 0; i < kTaps; ++i) {
      const double x = static_cast<double>(i) - (kTaps / 2.0 - 1.0) -
                       static_cast<double>(p) / static_cast<double>(kPhases);
      const double a = std::numbers::pi * x;
      const double window = std::cos(a / kTaps);
      kernel[p * kTaps + i] =
          static_cast<float>((x == 0.0 ? 1.0 : std::sin(a) / a) * window * window);
    }
  }
  return kernel;
}

}  // namespace

FractionalReader::FractionalReader(std::size_t capacity)
    : kernel_(make_kernel()), ring_(capacity + kTaps) {}

void FractionalReader::reset() {
  std::fill(ring_.begin(), ring_.end(), 0.0F);
  end_ = 0;
}

void FractionalReader::push(std::span<const float> samples) {
  for (float sample : samples) ring_[static_cast<std::size_t>(end_++) % ring_.size()] = sample;
}

void FractionalReader::read(double place, double speed, std::span<float> out) const {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = at(place + speed * static_cast<double>(i));
}

float FractionalReader::at(double place) const {
  const double whole = std::floor(place);
  const double phase = (place - whole) * kPhases;
  const auto p = std::min(static_cast<std::size_t>(phase), kPhases - 1);
  const auto mix = static_cast<float>(phase - static_cast<double>(p));
  const float* low = &kernel_[p * kTaps];
  const float* high = low + kTaps;
  const std::int64_t first = static_cast<std::int64_t>(whole) - (kAhead - 1);
  const std::int64_t oldest =
      std::max<std::int64_t>(0, end_ - static_cast<std::int64_t>(ring_.size()));
  float sum = 0;
  for (std::size_t t = 0; t < kTaps; ++t) {
    const std::int64_t place_of_tap = first + static_cast<std::int64_t>(t);
    if (place_of_tap < oldest || place_of_tap >= end_) continue;
    sum += (low[t] + mix * (high[t] - low[t])) *
           ring_[static_cast<std::size_t>(place_of_tap) % ring_.size()];
  }
  return sum;
}

}  // namespace parley::live
