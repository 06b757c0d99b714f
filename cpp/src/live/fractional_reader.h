// Reads a stream between its samples, at a speed a little off: for delays and for clocks that
// drift.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace parley::live {

// Windowed sinc of 16 taps at 256 phases, linear between them: about 90 dB clean up to 0.8 of the
// band. Source: Smith, "Digital audio resampling" (CCRMA, 2002). Allocates nothing after
// construction.
class FractionalReader {
 public:
  static constexpr std::int64_t kAhead = 8;  // samples behind a place that its value needs

  explicit FractionalReader(std::size_t capacity);  // samples that stay readable

  void push(std::span<const float> samples);
  std::int64_t end() const { return end_; }
  // The values at place, place + speed, place + 2 speed ...; zero before the first sample, behind
  // the last and where the past is forgotten.
  void read(double place, double speed, std::span<float> out) const;
  void reset();

 private:
  float at(double place) const;

  std::vector<float> kernel_;  // [phases + 1, taps]
  std::vector<float> ring_;
  std::int64_t end_ = 0;
};

}  // namespace parley::live
