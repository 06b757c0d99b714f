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
  double log_floor = 1e-10;   // of a power, segment form
  double clamp_range = 8.0;   // decades below the segment's maximum
  double offset = 4.0;        // (log10 + offset) / scale
  double scale = 4.0;
  int resampler_zeros = 6;
  double resampler_rolloff = 0.99;
  int trim_samples = 240;      // a turn is cut to a multiple of this
  int pad_samples = 480;       // then padded to a multiple of this
  int segment_samples = 720000;
  int positions_hz = 100;
  int feature_halvings = 4;
  double chunk_log_floor = 1e-6;  // chunk form: fixed floor, no clamp
  int chunk_frame_pad = 240;      // chunk form: zeros before the first sample
};

// Whole-signal windowed-sinc resampler (Hann window; polyphase at the reduced ratio). Source: Smith,
// "Digital audio resampling". Output length ceil(n * to / from).
std::vector<float> resample(std::span<const float> samples, int from_hz, int to_hz, int zeros,
                            double rolloff);

// The same numbers from a stream cut anywhere, after a fixed input delay. Allocates nothing in push.
class StreamingResampler {
 public:
  StreamingResampler(int from_hz, int to_hz, int zeros, double rolloff, std::size_t max_push);
  // How many input samples must follow a moment before its output is final.
  std::size_t lookahead() const { return lookahead_; }
  std::size_t max_output(std::size_t n_input) const;  // an upper bound of what push returns
  // Writes the samples that became final and returns how many.
  std::size_t push(std::span<const float> samples, std::span<float> out);
  // Ends the stream as if zeros followed; total length is then ceil(n * to / from).
  std::size_t finish(std::span<float> out);
  void reset();

 private:
  int from_ = 1;  // reduced ratio
  int to_ = 1;
  std::size_t width_ = 0;
  std::size_t lookahead_ = 0;
  std::size_t taps_ = 0;
  std::vector<float> kernel_;   // [to, taps]
  std::vector<float> history_;  // ring of the most recent input
  std::int64_t n_in_ = 0;
  std::int64_t n_out_ = 0;
};

// Log-mel of a whole segment as published: centred frames, reflect padding, clamp to the maximum
// less clamp_range. `samples` at encoder_hz, at most segment_samples worth; zero-padded to the
// segment. Writes [n_mels, segment mel frames].
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

// Log-mel of a stream, chunk by chunk: mel frame i ends at encoder sample hop * (i + 1), fixed
// floor, nothing looks ahead. Input at input_hz goes through a StreamingResampler first; the stream
// is delayed by delay_samples() so that each chunk gives exactly its mel frames.
class ChunkLogMel {
 public:
  ChunkLogMel(const FrontEndConfig& config, std::size_t chunk_samples);
  ~ChunkLogMel();
  std::size_t frames_per_chunk() const;
  std::size_t delay_samples() const;  // at input_hz
  // One chunk at input_hz -> [n_mels, frames_per_chunk]. Provisional until commit().
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
