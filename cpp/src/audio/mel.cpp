// Slaney's mel scale and filters (Auditory Toolbox, 1998) and the powers under them.
#include "audio/mel.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "parley/errors.hpp"

namespace parley {
namespace {

// Linear below the knee, then logarithmic: 27 mels per factor of 6.4.
constexpr double kHzPerMel = 200.0 / 3.0;
constexpr double kKneeHz = 1000.0;
constexpr double kKneeMel = kKneeHz / kHzPerMel;
const double kLogStep = std::log(6.4) / 27.0;

double mel_of(double hz) {
  return hz < kKneeHz ? hz / kHzPerMel : kKneeMel + std::log(hz / kKneeHz) / kLogStep;
}

double hz_of(double mel) {
  return mel < kKneeMel ? mel * kHzPerMel : kKneeHz * std::exp((mel - kKneeMel) * kLogStep);
}

void expect(bool good, const char* key, double got) {
  if (good) return;
  throw InputError("[audio.front_end] expected a usable " + std::string(key) + ", got " +
                   std::to_string(got) + "; correct the front end's config");
}

}  // namespace

const FrontEndConfig& checked(const FrontEndConfig& c) {
  expect(c.input_hz > 0, "input_hz", c.input_hz);
  expect(c.encoder_hz > 0, "encoder_hz", c.encoder_hz);
  expect(c.n_fft >= 2, "n_fft", c.n_fft);
  expect(c.hop >= 1 && c.hop <= c.n_fft, "hop", c.hop);
  expect(c.n_mels >= 1, "n_mels", c.n_mels);
  expect(c.mel_max_hz > 0.0, "mel_max_hz", c.mel_max_hz);
  expect(c.log_floor > 0.0, "log_floor", c.log_floor);
  expect(c.chunk_log_floor > 0.0, "chunk_log_floor", c.chunk_log_floor);
  expect(c.scale != 0.0, "scale", c.scale);
  expect(c.trim_samples > 0, "trim_samples", c.trim_samples);
  expect(c.pad_samples > 0, "pad_samples", c.pad_samples);
  expect(c.segment_samples > 0, "segment_samples", c.segment_samples);
  return c;
}

MelPowers::MelPowers(const FrontEndConfig& config) : fft_(static_cast<std::size_t>(config.n_fft)) {
  const std::size_t n = fft_.size();
  window_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {  // periodic Hann
    const double phase = 2.0 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(n);
    window_[i] = 0.5 - 0.5 * std::cos(phase);
  }
  const double top = mel_of(config.mel_max_hz);
  const auto edge = [&](int i) { return hz_of(top * i / (config.n_mels + 1)); };
  filters_.resize(static_cast<std::size_t>(config.n_mels));
  for (int m = 0; m < config.n_mels; ++m) {
    const double left = edge(m);
    const double middle = edge(m + 1);
    const double right = edge(m + 2);
    Filter& filter = filters_[static_cast<std::size_t>(m)];
    for (std::size_t bin = 0; bin < fft_.n_bins(); ++bin) {
      const double hz = static_cast<double>(bin) * config.encoder_hz / static_cast<double>(n);
      const double height =
          std::min((hz - left) / (middle - left), (right - hz) / (right - middle));
      if (height <= 0.0) continue;
      if (filter.weights.empty()) filter.first_bin = bin;
      filter.weights.push_back(height * 2.0 / (right - left));
    }
  }
}

MelPowers::Scratch MelPowers::make_scratch() const {
  return {fft_.make_scratch(), std::vector<double>(fft_.size()), std::vector<double>(fft_.n_bins()),
          std::vector<double>(filters_.size())};
}

void MelPowers::compute(std::span<const float> samples, Scratch& scratch) const {
  for (std::size_t i = 0; i < window_.size(); ++i) {
    scratch.frame[i] = window_[i] * static_cast<double>(samples[i]);
  }
  fft_.power(scratch.frame, scratch.power, scratch.fft);
  for (std::size_t m = 0; m < filters_.size(); ++m) {
    const Filter& filter = filters_[m];
    const double* power = scratch.power.data() + filter.first_bin;
    double sum = 0.0;
    for (std::size_t i = 0; i < filter.weights.size(); ++i) sum += filter.weights[i] * power[i];
    scratch.mels[m] = sum;
  }
}

}  // namespace parley
