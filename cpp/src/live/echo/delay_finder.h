// How late the loudspeaker's sound comes back in the microphone, and how that drifts, from the two
// signals alone: what devices say of their latency jitters by more than a filter can follow.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "audio/fft.h"
#include "audio/resampler.h"

namespace parley::live {

// Peak of the whitened cross-correlation of the last second, averaged over looks. Source: Knapp,
// Carter, "The generalized correlation method for estimation of time delay" (1976), PHAT.
// Works at 8 kHz on 200 to 3600 Hz, where loudspeakers of every size sound.
class DelayFinder {
 public:
  struct Found {
    double delay_s = 0;           // negative: the last one was none
    std::optional<double> drift;  // seconds per second, measured once after each new delay
  };

  // `hz`: of what is pushed, in blocks of up to `max_block` samples; looks for delays below
  // `max_s`.
  DelayFinder(int hz, std::size_t max_block, double max_s);

  // The same stretch of time of both signals.
  void push(std::span<const float> microphone, std::span<const float> loudspeaker);
  // Every 0.12 s of signal: a delay that is new beside the current one, or its drift; else nothing.
  // Negative: none is known.
  std::optional<Found> look(double current_s);
  // Whether the last new delay has stood for a second; two voices can look like an echo for less.
  bool sure() const { return probation_ == 0; }
  void reset();

 private:
  struct Channel {
    StreamingResampler resampler;
    std::vector<float> ring;
    std::int64_t end = 0;
  };
  struct Peak {
    std::size_t lag = 0;
    double height = 0;  // over the root mean square of all lags
    double value = 0;
  };

  void append(Channel& channel, std::span<const float> samples);
  void spectrum(const Channel& channel, std::size_t n, std::vector<Complex>& bins);
  bool correlate(std::size_t n);
  std::optional<Found> new_delay(double current_s);
  std::optional<Found> drift();
  Peak highest(const std::vector<double>& lags, std::size_t from, std::size_t to) const;

  Channel microphone_;
  Channel loudspeaker_;
  std::size_t max_lag_;
  RealFft fft_;
  RealFft::Scratch scratch_;
  std::vector<float> resampled_;
  std::vector<double> frame_;
  std::vector<Complex> mic_bins_;
  std::vector<Complex> far_bins_;  // then the whitened cross-spectrum of this look
  std::vector<Complex> average_;
  std::vector<double> now_;     // correlation by lag, of this look
  std::vector<double> lately_;  // of the average
  std::int64_t next_look_ = 0;
  std::size_t candidate_ = 0;
  int seen_ = 0;       // looks in a row with that candidate
  int probation_ = 0;  // looks until a new delay is sure
  bool measuring_ = false;
  std::size_t base_ = 0;  // lag around which the drift is measured
  std::vector<double> times_;
  std::vector<double> places_;
};

}  // namespace parley::live
