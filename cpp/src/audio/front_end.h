// The numbers of the front end, from input samples to log-mel frames; plain values only.
#pragma once
#include <cstddef>

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
  int tail_samples = 0;  // of silence behind a segment, where it is not filled up to a whole one
  int positions_hz = 100;
  int feature_halvings = 4;
  int pooled_halving = 0;     // which of them averages pairs and drops an odd one; 0: none
  int hidden_mel_frames = 0;  // the last ones of a segment, which do not count
  // Features counted from samples instead: so many rows a second, in groups; 0: by halvings.
  int feature_rows_hz = 0;
  int feature_group = 1;
  int block_mel_frames = 0;       // that see nothing of one another; 0: a segment's all do
  double chunk_log_floor = 1e-6;  // chunk form: fixed floor, no clamp
  int chunk_frame_pad = 240;      // chunk form: zeros before the first sample

  // Whether a segment keeps its own length, else it is filled up to a whole one.
  bool own_lengths() const { return tail_samples > 0; }
};

// Rows that stay of n behind layers that each halve them, rounding up; layer `averaging` rounds
// down, 0: none does.
constexpr std::size_t halved(std::size_t n, int layers, int averaging = 0) {
  for (int i = 1; i <= layers; ++i) n = (n + (i == averaging ? 0 : 1)) / 2;
  return n;
}

// Groups of `size` rows that n of them make, the last one perhaps short.
constexpr std::size_t grouped(std::size_t n, int size) {
  const auto rows = static_cast<std::size_t>(size);
  return (n + rows - 1) / rows;
}

}  // namespace parley
