// The encoder stage (encoder with adapter): log-mel to backbone features; knows no turn.
#pragma once
#include <cstddef>
#include <memory>
#include <span>

#include "base/stop.h"
#include "runners/graph_state.h"
#include "runners/runner.h"
#include "stages/stage.h"

namespace parley {

class Encoder {
 public:
  virtual ~Encoder() = default;
  virtual std::size_t width() const = 0;  // of one feature
  // Whether a segment may have fewer mel frames than a whole one. Attention then sees no others,
  // so the rows are near those of the whole segment, not equal.
  virtual bool has_short_form() const = 0;
  // Rows that a segment of n mel frames gives, whole or shorter.
  virtual std::size_t segment_features(std::size_t n) const = 0;
  // `log_mel` [n_mels, n] -> `features` [segment_features(n), width].
  virtual void encode_segment(std::span<const float> log_mel, std::span<float> features,
                              const StopFlag& stop) const = 0;

  virtual StatePtr create_state() const = 0;
  // One chunk, `log_mel` [n_mels, mel frames of a chunk] -> `feature` [width]. States are double-
  // buffered: commit() or rollback() comes before the next chunk, otherwise this throws Error.
  virtual void encode_chunk(StageState& state, std::span<const float> log_mel,
                            std::span<float> feature, const StopFlag& stop) const = 0;
};

struct EncoderShape {
  std::size_t n_mels = 128;
  std::size_t segment_mel_frames = 3000;
  std::size_t chunk_mel_frames = 16;
  int feature_halvings = 4;  // from mel frames to features
  int pooled_halving = 0;    // which of them averages and rounds down; 0: none
  int feature_group = 1;     // rows behind them that make a feature
};

// Either graph may be null: a bundle has one form or both. `states`: of the chunk graph, as the
// manifest has them; their initial values count.
std::unique_ptr<Encoder> make_graph_encoder(std::shared_ptr<const GraphRunner> segment,
                                            std::shared_ptr<const GraphRunner> chunk,
                                            const std::vector<StateSpec>& states,
                                            EncoderShape shape);

}  // namespace parley
