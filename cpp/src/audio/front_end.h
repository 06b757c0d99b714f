// From input samples to log-mel frames, whole or as a stream; knows no model.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace parley {

struct FrontEndConfig {
  int input_hz = 24000;
  int encoder_hz = 16000;
  int n_fft = 400;
  int hop = 160;
  int n_mels = 128;
  double mel_max_hz = 8000.0;
  double log_floor = 1e-10;  // of a power, segment form
  double clamp_range = 8.0;  // decades below the segment's maximum
  double offset = 4.0;       // (log10 + offset) / scale
  double scale = 4.0;
  int resampler_zeros = 6;
  double resampler_rolloff = 0.99;
  int trim_samples = 240;  // a turn is cut to a multiple of this
  int pad_samples = 480;   // then padded to a multiple of this
  int segment_samples = 720000;
  int positions_hz = 100;
  int feature_halvings = 4;
  double chunk_log_floor = 1e-6;  // chunk form: fixed floor, no clamp
  int chunk_frame_pad = 240;      // chunk form: zeros before the first sample
};

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

// Log-mel of a whole segment as published: centred frames, reflect padding, clamp to the maximum
// less clamp_range. `samples` at encoder_hz, at most segment_samples worth; zero-padded to the
// segment. Writes [n_mels, segment mel frames]. Const and thread-safe.
class SegmentLogMel {
 public:
  explicit SegmentLogMel(const FrontEndConfig& config);
  ~SegmentLogMel();
  std::size_t n_frames() const;  // mel frames of a segment
  void compute(std::span<const float> samples, std::span<float> log_mel) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Log-mel of a stream, chunk by chunk: mel frame i covers the encoder samples from
// hop * (i + 1) - n_fft to hop * (i + 1), with a fixed floor and no clamp; nothing looks ahead.
// Input goes through a StreamingResampler, whose look-ahead delays the stream: the result is that
// of the whole signal with delay_samples() zeros put before it. Allocates nothing after
// construction.
class ChunkLogMel {
 public:
  ChunkLogMel(const FrontEndConfig& config, std::size_t chunk_samples);
  ~ChunkLogMel();
  std::size_t frames_per_chunk() const;
  std::size_t delay_samples() const;  // at input_hz; a whole number of encoder samples too
  // One chunk at input_hz -> [n_mels, frames_per_chunk]. Provisional until commit(); several pushes
  // may come before it.
  void push(std::span<const float> chunk, std::span<float> log_mel);
  void commit();
  void rollback();
  void reset();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A turn as the published prompt builder cuts it.
struct TurnSegments {
  std::vector<std::vector<float>> segments;  // at input_hz, trimmed and padded
  std::size_t n_features = 0;                // backbone positions of the whole turn
};
TurnSegments cut_turn(std::span<const float> samples, const FrontEndConfig& config);

// Backbone positions of a turn of n samples (before trimming).
std::size_t count_features(std::size_t n_samples, const FrontEndConfig& config);

}  // namespace parley
