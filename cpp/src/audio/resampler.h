// From one sampling rate to another, whole or as a stream; knows no mel and no chunk.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace parley {

// Whole-signal windowed-sinc resampler (Hann window; polyphase at the reduced ratio). Source:
// Smith, "Digital audio resampling". Output length ceil(n * to / from).
std::vector<float> resample(std::span<const float> samples, int from_hz, int to_hz, int zeros,
                            double rolloff);

// The same numbers from a stream cut anywhere, after a fixed input delay. Allocates nothing in
// push.
class StreamingResampler {
 public:
  StreamingResampler(int from_hz, int to_hz, int zeros, double rolloff, std::size_t max_push);
  // How many input samples must follow a moment before its output is final.
  std::size_t lookahead() const;
  // An upper bound of what push returns, and with 0 of what finish returns.
  std::size_t max_output(std::size_t n_input) const;
  // Writes the samples that became final and returns how many. `out` holds max_output(n) samples.
  std::size_t push(std::span<const float> samples, std::span<float> out);
  // Ends the stream as if zeros followed; total length is then ceil(n * to / from). Only reset()
  // may follow.
  std::size_t finish(std::span<float> out);
  void reset();
  void save(ByteWriter& to) const;
  void load(ByteReader& from);

 private:
  struct Kernel;
  static std::shared_ptr<const Kernel> make_kernel(int from_hz, int to_hz, int zeros,
                                                   double rolloff);
  std::size_t advance(const float* samples, std::size_t n, std::span<float> out, std::int64_t end);

  // All but the kernel is the state. Copies share the kernel; assigning one allocates nothing.
  std::shared_ptr<const Kernel> kernel_;
  std::size_t slice_ = 0;      // the most input samples taken in at once
  std::vector<float> buffer_;  // the most recent input, then room for a slice
  std::size_t held_ = 0;       // of the buffer
  std::size_t phase_ = 0;      // of the next output
  std::int64_t block_ = 0;     // input sample at which its block begins
  std::int64_t n_in_ = 0;
  std::int64_t n_out_ = 0;
};

}  // namespace parley
