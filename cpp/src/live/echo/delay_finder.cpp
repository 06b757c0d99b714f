// Whitened cross-correlation over one second and the line through its peak's places.
#include "live/echo/delay_finder.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace parley::live {

namespace {

constexpr int kHz = 8000;
constexpr std::size_t kWindow = 8192;  // 1.02 s
constexpr std::size_t kLook = kHz * 12 / 100;
constexpr double kLowHz = 200.0;
constexpr double kHighHz = 3600.0;
constexpr double kSilence = 1e-6;  // power; a quieter loudspeaker tells nothing
constexpr double kMemory = 0.8;    // of the average, per look
constexpr double kClear = 8.0;     // a peak above so many root mean squares is one
constexpr double kBetter = 1.6;    // a new delay's peak over that at the current delay
constexpr int kLooks = 3;          // a new delay is seen so often before it counts
constexpr int kProbation = 8;      // looks after which it is sure
constexpr double kLost = 5.5;      // a peak that falls below this before was two voices alike
constexpr std::size_t kNear = 12;  // lags that are one and the same peak; speech has others nearby
constexpr std::size_t kPlaces = 8;
constexpr double kStraight = 0.4;  // lags by which the places may miss their line

}  // namespace

DelayFinder::DelayFinder(int hz, std::size_t max_block, double max_s)
    : microphone_{StreamingResampler(hz, kHz, 6, 0.95, max_block), std::vector<float>(kWindow)},
      loudspeaker_{StreamingResampler(hz, kHz, 6, 0.95, max_block), std::vector<float>(kWindow)},
      max_lag_(static_cast<std::size_t>(max_s * kHz)),
      fft_(kWindow),
      scratch_(fft_.make_scratch()),
      resampled_(microphone_.resampler.max_output(max_block)),
      frame_(kWindow),
      mic_bins_(fft_.n_bins()),
      far_bins_(fft_.n_bins()),
      average_(fft_.n_bins()),
      now_(kWindow),
      lately_(kWindow) {
  times_.reserve(kPlaces);
  places_.reserve(kPlaces);
  reset();
}

void DelayFinder::reset() {
  for (Channel* channel : {&microphone_, &loudspeaker_}) {
    channel->resampler.reset();
    std::fill(channel->ring.begin(), channel->ring.end(), 0.0F);
    channel->end = 0;
  }
  std::fill(average_.begin(), average_.end(), Complex{});
  next_look_ = kWindow / 2;
  seen_ = probation_ = 0;
  measuring_ = false;
}

void DelayFinder::push(std::span<const float> microphone, std::span<const float> loudspeaker) {
  append(microphone_, microphone);
  append(loudspeaker_, loudspeaker);
}

void DelayFinder::append(Channel& channel, std::span<const float> samples) {
  const std::size_t n = channel.resampler.push(samples, resampled_);
  for (std::size_t i = 0; i < n; ++i)
    channel.ring[static_cast<std::size_t>(channel.end++) % kWindow] = resampled_[i];
}

// The last `n` samples under a Hann window, zeros before them.
void DelayFinder::spectrum(const Channel& channel, std::size_t n, std::vector<Complex>& bins) {
  std::fill(frame_.begin(), frame_.end(), 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    const double x = channel.ring[(static_cast<std::size_t>(channel.end) - n + i) % kWindow];
    const double phase = 2.0 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(n);
    frame_[i] = x * (0.5 - 0.5 * std::cos(phase));
  }
  fft_.forward(frame_, bins, scratch_);
}

std::optional<DelayFinder::Found> DelayFinder::look(double current_s) {
  if (loudspeaker_.end < next_look_) return std::nullopt;
  next_look_ = loudspeaker_.end + static_cast<std::int64_t>(kLook);
  // A session's first looks have half a window.
  const bool whole = loudspeaker_.end >= static_cast<std::int64_t>(kWindow);
  if (!correlate(whole ? kWindow : kWindow / 2)) return std::nullopt;
  if (auto found = new_delay(current_s)) return found;
  return measuring_ ? drift() : std::nullopt;
}

// False where the loudspeaker was silent.
bool DelayFinder::correlate(std::size_t n) {
  double power = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double x =
        loudspeaker_.ring[(static_cast<std::size_t>(loudspeaker_.end) - 1 - i) % kWindow];
    power += x * x;
  }
  if (power < kSilence * static_cast<double>(n)) return false;
  spectrum(microphone_, n, mic_bins_);
  spectrum(loudspeaker_, n, far_bins_);
  for (std::size_t k = 0; k < average_.size(); ++k) {
    const double hz = static_cast<double>(k) * kHz / kWindow;
    const Complex a = mic_bins_[k];
    const Complex b = far_bins_[k];
    Complex c{a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im};
    const double size = std::hypot(c.re, c.im) + 1e-12;
    const double weight = hz > kLowHz && hz < kHighHz ? 1.0 / size : 0.0;
    c = {c.re * weight, c.im * weight};
    far_bins_[k] = c;
    average_[k].re = kMemory * average_[k].re + (1.0 - kMemory) * c.re;
    average_[k].im = kMemory * average_[k].im + (1.0 - kMemory) * c.im;
  }
  fft_.inverse(far_bins_, now_, scratch_);
  fft_.inverse(average_, lately_, scratch_);
  return true;
}

DelayFinder::Peak DelayFinder::highest(const std::vector<double>& lags, std::size_t from,
                                       std::size_t to) const {
  double squares = 0;
  for (std::size_t i = 0; i < max_lag_; ++i) squares += lags[i] * lags[i];
  const auto first = lags.begin() + static_cast<std::ptrdiff_t>(from);
  const auto end = lags.begin() + static_cast<std::ptrdiff_t>(std::min(to, max_lag_));
  if (first >= end) return {};
  const auto top = std::max_element(first, end);
  const double rms = std::sqrt(squares / static_cast<double>(max_lag_)) + 1e-12;
  return {static_cast<std::size_t>(top - lags.begin()), *top / rms, *top};
}

std::optional<DelayFinder::Found> DelayFinder::new_delay(double current_s) {
  const Peak peak = highest(lately_, 0, max_lag_);
  Peak here;
  if (current_s >= 0) {
    const auto at = static_cast<std::size_t>(current_s * kHz);
    here = highest(lately_, at - std::min<std::size_t>(at, 40), at + 100);
    if (probation_ > 0 && --probation_ > 0 && here.height < kLost) {
      probation_ = seen_ = 0;
      measuring_ = false;
      return Found{-1.0, std::nullopt};
    }
  }
  if (peak.height < kClear || peak.value < kBetter * here.value) {
    seen_ = 0;
    return std::nullopt;
  }
  const bool same = seen_ > 0 && peak.lag + kNear > candidate_ && peak.lag < candidate_ + kNear;
  seen_ = same ? seen_ + 1 : 1;
  candidate_ = peak.lag;
  if (seen_ < kLooks) return std::nullopt;
  seen_ = 0;
  probation_ = kProbation;
  measuring_ = true;
  base_ = peak.lag;
  times_.clear();
  places_.clear();
  return Found{static_cast<double>(peak.lag) / kHz, std::nullopt};
}

// A line through the places of the peak, each by a parabola through three lags.
std::optional<DelayFinder::Found> DelayFinder::drift() {
  const std::size_t from = base_ - std::min(base_, kNear);
  const Peak peak = highest(now_, from, base_ + kNear);
  if (peak.lag == 0 || peak.lag + 1 >= max_lag_ || peak.height < 0.75 * kClear) return std::nullopt;
  const double before = now_[peak.lag - 1];
  const double after = now_[peak.lag + 1];
  const double bend = before - 2.0 * peak.value + after;
  const double shift = bend < 0 ? 0.5 * (before - after) / bend : 0.0;
  times_.push_back(static_cast<double>(loudspeaker_.end) - kWindow / 2.0);
  places_.push_back(static_cast<double>(peak.lag) + shift);
  if (times_.size() < kPlaces) return std::nullopt;
  measuring_ = false;
  const double n = kPlaces;
  double t = 0, p = 0, tt = 0, tp = 0, misses = 0;
  for (std::size_t i = 0; i < kPlaces; ++i) t += times_[i] / n, p += places_[i] / n;
  for (std::size_t i = 0; i < kPlaces; ++i) {
    tt += (times_[i] - t) * (times_[i] - t);
    tp += (times_[i] - t) * (places_[i] - p);
  }
  const double slope = tp / tt;
  const auto line = [&](double time) { return p + slope * (time - t); };
  for (std::size_t i = 0; i < kPlaces; ++i)
    misses += (places_[i] - line(times_[i])) * (places_[i] - line(times_[i])) / n;
  if (std::sqrt(misses) > kStraight) return std::nullopt;
  return Found{line(static_cast<double>(loudspeaker_.end)) / kHz, slope};
}

}  // namespace parley::live
