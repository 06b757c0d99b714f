// Takes the loudspeaker's sound out of the microphone's and leaves the user's in, also while both
// speak; knows no device and no model.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "live/echo/delay_finder.h"
#include "live/echo/echo_filter.h"
#include "live/echo/residual_suppressor.h"
#include "live/fractional_reader.h"

namespace parley::live {

struct EchoStatistics {
  bool found = false;      // an echo was found and is being taken out
  double erle_db = 0;      // echo return loss enhancement: lately, while the loudspeaker played
  double delay_s = 0;      // of the echo behind the loudspeaker's samples
  double drift_ppm = 0;    // of the microphone's clock against the loudspeaker's
  std::int64_t jumps = 0;  // new delays after the first
};

// In order: the delay is found and the loudspeaker's signal moved there, its drift is resampled
// away, a linear filter takes the echo out, a mild suppressor what is left. Until an echo is found,
// for at most two seconds of the loudspeaker's sound, the microphone counts as silent: a model must
// not hear itself as its user.
class EchoCanceller {
 public:
  // `hz`: of both signals, a multiple of 100.
  explicit EchoCanceller(int hz);

  std::size_t block_samples() const { return block_; }  // 10 ms
  std::size_t delay_samples() const { return block_; }  // of what comes out
  // `microphone` and what was given to the loudspeaker in the same 10 ms -> `out`, each [block].
  // Allocates nothing.
  void run(std::span<const float> microphone, std::span<const float> loudspeaker,
           std::span<float> out);
  const EchoStatistics& statistics() const { return statistics_; }
  void reset();

 private:
  void take(const DelayFinder::Found& found);
  void read_loudspeaker();
  void track_drift();
  void measure();

  int hz_;
  std::size_t block_;
  DelayFinder finder_;
  EchoFilter filter_;
  ResidualSuppressor suppressor_;
  EchoStatistics statistics_;

  FractionalReader played_;  // what the loudspeaker got
  std::vector<float> moved_;
  double delay_ = 0;      // samples between the microphone's and the loudspeaker's place
  double drift_ = 0;      // samples per sample
  int settled_ = 0;       // looks at the drift that found it small
  bool trusted_ = false;  // the delay is used before it is sure: an echo is expected
  int heard_ = 0;         // blocks in which the loudspeaker sounded
  int since_mark_ = 0;    // of these, since the path was marked
  std::int64_t marked_at_ = -1;
  double mic_power_ = 0;
  double rest_power_ = 0;
  std::vector<double> far_;
  std::vector<double> near_;
  std::vector<double> echo_;
  std::vector<double> rest_;
};

}  // namespace parley::live
