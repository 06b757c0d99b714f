// What a linear filter leaves of an echo, taken down where it outweighs everything else.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "audio/fft.h"

namespace parley::live {

// A gain per bin, never below -20 dB: mild, since whatever it takes, it takes of the user too while
// both speak. The share of the echo that is left is the regression of the rest's power on that of
// the estimated echo, as in Valin, "On adjusting the learning rate in frequency domain echo
// cancellation with double-talk" (2007).
class ResidualSuppressor {
 public:
  explicit ResidualSuppressor(std::size_t block);
  // `echo`, `rest` [block] -> `out`, one block later.
  void run(std::span<const double> echo, std::span<const double> rest, std::span<float> out);
  double power() const { return power_; }  // mean square of the last `out`
  void reset();

 private:
  std::size_t block_;
  RealFft fft_;
  RealFft::Scratch scratch_;
  std::vector<double> window_;     // square root of Hann, [2 block]
  std::vector<double> last_echo_;  // [block]
  std::vector<double> last_rest_;
  std::vector<double> tail_;  // of the overlap-add
  std::vector<double> frame_;
  std::vector<Complex> echo_bins_;
  std::vector<Complex> rest_bins_;
  std::vector<double> gain_;
  double both_ = 0;  // sums over the bins, smoothed
  double squares_ = 0;
  double power_ = 0;
};

}  // namespace parley::live
