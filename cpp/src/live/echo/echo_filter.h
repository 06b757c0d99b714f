// The echo's path as a filter that learns: what the loudspeaker plays becomes what the microphone
// hears of it. Leaves every voice that the loudspeaker did not play as it is.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "audio/fft.h"

namespace parley::live {

// Partitioned-block frequency-domain Kalman filter. Source: Enzner, Vary, "Frequency-domain
// adaptive Kalman filter for acoustic echo control" (2006), partitioned by Kuech, Mabande, Enzner
// (2014). Its step size follows from how sure it is, so it stands still while both speak.
class EchoFilter {
 public:
  // Blocks of `block` samples, a path of `partitions` blocks.
  EchoFilter(std::size_t block, std::size_t partitions);

  // `loudspeaker`, `microphone` [block] -> `echo`, the estimate, `rest`, the microphone without it.
  void run(std::span<const double> loudspeaker, std::span<const double> microphone,
           std::span<double> echo, std::span<double> rest);

  // How far the path can wander from block to block: 1 not at all.
  void set_memory(double memory) { memory_ = memory; }
  // The path is another one: learn anew.
  void forget();
  void reset();

  // Keeps the path as it is now; shift() then tells by how many samples it has moved since, or
  // nothing where it has become another.
  void mark();
  bool shift(double& samples) const;

 private:
  void estimate(std::span<double> echo);
  void learn();
  void constrain(std::size_t partition);

  std::size_t block_;
  std::size_t bins_;
  std::size_t partitions_;
  double memory_ = 0.9999;
  RealFft fft_;
  RealFft::Scratch scratch_;
  std::size_t newest_ = 0;  // place of the newest input among the spectra
  std::size_t next_constrained_ = 0;
  std::vector<double> before_;     // the last block of the loudspeaker
  std::vector<double> frame_;      // [2 block]
  std::vector<Complex> spectrum_;  // [bins]
  std::vector<Complex> inputs_;    // [partitions, bins], a ring
  std::vector<Complex> path_;      // [partitions, bins]
  std::vector<Complex> marked_;
  std::vector<double> unsure_;      // [partitions, bins], error covariance of the path
  std::vector<double> rest_power_;  // [bins], smoothed
};

}  // namespace parley::live
