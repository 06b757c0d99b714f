// From two raw signals to one without echo, 10 ms at a time.
#include "live/echo/echo_canceller.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "parley/errors.h"

namespace parley::live {

namespace {

constexpr double kMaxDelay = 0.5;     // s
constexpr double kTail = 0.2;         // s of the echo's path
constexpr double kLead = 0.004;       // s by which the path begins before its highest peak
constexpr double kMaxDrift = 600e-6;  // crystals of two devices stay below
constexpr double kSmallDrift = 15e-6;
constexpr double kAudible = 1e-6;  // power of a loudspeaker that sounds
constexpr int kMarkBlocks = 25;
constexpr int kWarmUpBlocks = 200;
constexpr std::size_t kTaps = 16;
constexpr std::size_t kPhases = 256;

// Windowed sinc at every phase; phases between two are mixed.
std::vector<float> make_kernel() {
  std::vector<float> kernel((kPhases + 1) * kTaps);
  for (std::size_t p = 0; p <= kPhases; ++p) {
    for (std::size_t i = 0; i < kTaps; ++i) {
      const double x = static_cast<double>(i) - (kTaps / 2.0 - 1.0) -
                       static_cast<double>(p) / static_cast<double>(kPhases);
      const double a = std::numbers::pi * x;
      const double window = std::cos(a / kTaps);
      kernel[p * kTaps + i] =
          static_cast<float>((std::abs(x) < 1e-9 ? 1.0 : std::sin(a) / a) * window * window);
    }
  }
  return kernel;
}

double mean_square(std::span<const double> block) {
  double sum = 0;
  for (double x : block) sum += x * x;
  return sum / static_cast<double>(block.size());
}

std::size_t block_of(int hz) {
  if (hz >= 8000 && hz % 100 == 0) return static_cast<std::size_t>(hz) / 100;
  throw InputError("[live.echo] expected a rate of at least 8000 Hz and a multiple of 100, got " +
                   std::to_string(hz) + "; resample to one");
}

}  // namespace

EchoCanceller::EchoCanceller(int hz)
    : hz_(hz),
      block_(block_of(hz)),
      finder_(hz, block_, kMaxDelay),
      filter_(block_, static_cast<std::size_t>(kTail * 100)),
      suppressor_(block_),
      kernel_(make_kernel()),
      played_(static_cast<std::size_t>(hz)),
      far_(block_),
      near_(block_),
      echo_(block_),
      rest_(block_) {}

void EchoCanceller::reset() {
  finder_.reset();
  filter_.reset();
  suppressor_.reset();
  statistics_ = {};
  std::fill(played_.begin(), played_.end(), 0.0F);
  end_ = 0;
  delay_ = drift_ = mic_power_ = rest_power_ = 0;
  settled_ = heard_ = since_mark_ = 0;
  marked_at_ = -1;
  trusted_ = false;
}

void EchoCanceller::run(std::span<const float> microphone, std::span<const float> loudspeaker,
                        std::span<float> out) {
  finder_.push(microphone, loudspeaker);
  for (float x : loudspeaker) played_[static_cast<std::size_t>(end_++) % played_.size()] = x;
  const double lead = kLead * hz_;
  if (const auto found = finder_.look(statistics_.found ? (delay_ + lead) / hz_ : -1.0))
    take(*found);
  read_loudspeaker();
  std::copy(microphone.begin(), microphone.end(), near_.begin());
  filter_.run(far_, near_, echo_, rest_);
  if (!trusted_ && !finder_.sure()) {
    std::fill(echo_.begin(), echo_.end(), 0.0);
    rest_ = near_;
  }
  suppressor_.run(echo_, rest_, out);
  measure();
  if (!statistics_.found && heard_ > 0 && heard_ < kWarmUpBlocks)
    std::fill(out.begin(), out.end(), 0.0F);
}

void EchoCanceller::take(const DelayFinder::Found& found) {
  if (found.delay_s < 0) {
    statistics_.found = false;
    filter_.forget();
    return;
  }
  delay_ = std::max(0.0, found.delay_s * hz_ - kLead * hz_);
  marked_at_ = -1;
  if (found.drift) {
    drift_ = std::clamp(*found.drift, -kMaxDrift, kMaxDrift);
    settled_ = 1;
    return;
  }
  if (statistics_.found) ++statistics_.jumps;
  trusted_ = statistics_.found || heard_ < kWarmUpBlocks;
  statistics_.found = true;
  filter_.forget();
  filter_.set_memory(0.99);
  settled_ = 0;
}

// The loudspeaker's block as the microphone's clock sees it, `delay_` earlier.
void EchoCanceller::read_loudspeaker() {
  const double start = static_cast<double>(end_) - static_cast<double>(block_) - delay_;
  for (std::size_t i = 0; i < block_; ++i) {
    const double place = start + static_cast<double>(i) * (1.0 - drift_);
    const double whole = std::floor(place);
    const double phase = (place - whole) * kPhases;
    const auto p = static_cast<std::size_t>(phase);
    const auto mix = static_cast<float>(phase - static_cast<double>(p));
    const float* a = &kernel_[p * kTaps];
    const auto first = static_cast<std::int64_t>(whole) - static_cast<std::int64_t>(kTaps / 2 - 1);
    float sum = 0;
    for (std::size_t t = 0; t < kTaps; ++t) {
      const std::int64_t at = first + static_cast<std::int64_t>(t);
      if (at < 0 || at >= end_) continue;
      const float weight = a[t] + mix * (a[t + kTaps] - a[t]);
      sum += weight * played_[static_cast<std::size_t>(at) % played_.size()];
    }
    far_[i] = statistics_.found ? static_cast<double>(sum) : 0.0;
  }
  delay_ = std::max(0.0, delay_ + drift_ * static_cast<double>(block_));
}

void EchoCanceller::measure() {
  double sounds = 0;
  for (std::size_t i = 0; i < block_; ++i) {
    const double x =
        played_[static_cast<std::size_t>(end_ - 1 - static_cast<std::int64_t>(i)) % played_.size()];
    sounds += x * x / static_cast<double>(block_);
  }
  if (sounds > kAudible) ++heard_;
  statistics_.delay_s = delay_ / hz_ + kLead;
  statistics_.drift_ppm = drift_ * 1e6;
  if (mean_square(far_) <= kAudible) return;
  mic_power_ = 0.99 * mic_power_ + 0.01 * mean_square(near_);
  rest_power_ = 0.99 * rest_power_ + 0.01 * suppressor_.power();
  statistics_.erle_db = 10.0 * std::log10((mic_power_ + 1e-12) / (rest_power_ + 1e-12));
  if (++since_mark_ >= kMarkBlocks) track_drift();
}

// What the filter's path moves is drift that is left; it goes into the resampling, not the path.
void EchoCanceller::track_drift() {
  since_mark_ = 0;
  double moved = 0;
  if (marked_at_ >= 0 && filter_.shift(moved)) {
    const double rate = moved / static_cast<double>(end_ - marked_at_);
    drift_ = std::clamp(drift_ + 0.3 * rate, -kMaxDrift, kMaxDrift);
    if (std::abs(rate) < kSmallDrift) ++settled_;
    filter_.set_memory(settled_ >= 3 ? 0.9999 : settled_ >= 1 ? 0.998 : 0.99);
  }
  filter_.mark();
  marked_at_ = end_;
}

}  // namespace parley::live
