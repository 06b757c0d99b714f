// From two raw signals to one without echo, 10 ms at a time.
#include "live/echo/echo_canceller.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "parley/errors.hpp"

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

template <typename Sample>
double mean_square(const Sample& block) {
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
      played_(static_cast<std::size_t>(hz)),
      moved_(block_),
      far_(block_),
      near_(block_),
      echo_(block_),
      rest_(block_) {}

void EchoCanceller::reset() {
  finder_.reset();
  filter_.reset();
  suppressor_.reset();
  statistics_ = {};
  played_.reset();
  delay_ = drift_ = mic_power_ = rest_power_ = 0;
  settled_ = heard_ = since_mark_ = 0;
  marked_at_ = -1;
  trusted_ = false;
}

void EchoCanceller::run(std::span<const float> microphone, std::span<const float> loudspeaker,
                        std::span<float> out) {
  if (mean_square(loudspeaker) > kAudible) ++heard_;
  finder_.push(microphone, loudspeaker);
  played_.push(loudspeaker);
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
  if (statistics_.found) {
    const double start = static_cast<double>(played_.end()) - static_cast<double>(block_) - delay_;
    played_.read(start, 1.0 - drift_, moved_);
    std::copy(moved_.begin(), moved_.end(), far_.begin());
  } else {
    std::fill(far_.begin(), far_.end(), 0.0);
  }
  delay_ = std::max(0.0, delay_ + drift_ * static_cast<double>(block_));
}

void EchoCanceller::measure() {
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
    const double rate = moved / static_cast<double>(played_.end() - marked_at_);
    drift_ = std::clamp(drift_ + 0.3 * rate, -kMaxDrift, kMaxDrift);
    if (std::abs(rate) < kSmallDrift) ++settled_;
    filter_.set_memory(settled_ >= 3 ? 0.9999 : settled_ >= 1 ? 0.998 : 0.99);
  }
  filter_.mark();
  marked_at_ = played_.end();
}

}  // namespace parley::live
