// Streams from a device's rate to a session's and back; knows no session.
#pragma once
#include <cstddef>
#include <memory>
#include <span>

namespace parley {

// One stream of mono samples. Output sample 0 lies where input sample 0 lies; of n samples come
// ceil(n * to_hz / from_hz), once finish() has given the last ones. A windowed sinc by SpeexDSP
// (stopband 100 dB down at its quality 8). For sound going to or from a device: the models' own
// front end resamples for itself, as they were trained. Not thread-safe; allocates nothing after
// construction, so an audio callback may push.
class Resampler {
 public:
  static constexpr int kLeastHz = 4000;
  static constexpr int kMostHz = 768000;

  // Throws InputError for rates outside of those.
  Resampler(int from_hz, int to_hz);
  ~Resampler();
  Resampler(Resampler&&) noexcept;
  Resampler& operator=(Resampler&&) noexcept;

  // An upper bound of what push() writes for so many samples; of 0, of what finish() writes.
  std::size_t max_output(std::size_t n_input) const;
  // Writes the samples that became final and returns how many. `out` has room for max_output().
  std::size_t push(std::span<const float> in, std::span<float> out);
  // As if silence followed: the rest of the stream. The next push() begins another one.
  std::size_t finish(std::span<float> out);
  void reset();

  int from_hz() const;
  int to_hz() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace parley
