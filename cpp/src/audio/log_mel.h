// From samples to log-mel frames, whole or as a stream; knows no model and no turn.
#pragma once
#include <cstddef>
#include <memory>
#include <span>

#include "audio/front_end.h"
#include "base/bytes.h"

namespace parley {

// Mel frames of a segment of n samples at input_hz.
std::size_t segment_mel_frames(std::size_t n_samples, const FrontEndConfig& config);

// Log-mel of a whole segment as published: centred frames, reflect padding, clamp to the maximum
// less clamp_range. `samples` at encoder_hz, at most segment_samples worth; zeros follow, up to a
// whole segment or tail_samples of them. Writes [n_mels, mel frames]. Const and thread-safe.
class SegmentLogMel {
 public:
  explicit SegmentLogMel(const FrontEndConfig& config);
  ~SegmentLogMel();
  std::size_t n_frames() const;                       // mel frames of a whole segment
  std::size_t n_frames(std::size_t n_samples) const;  // and of so many samples at encoder_hz
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
  // What `other`, of the same config, has committed.
  void copy(const ChunkLogMel& other);
  void save(ByteWriter& to) const;
  void load(ByteReader& from);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace parley
