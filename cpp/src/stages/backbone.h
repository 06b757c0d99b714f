// The backbone stage: positions in, logits out, over one KV cache; knows no turn and no sampling.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/stop.h"
#include "runners/runner.h"
#include "stages/stage.h"

namespace parley {

// One backbone position: a token, or a feature of the encoder where `feature` is not null.
struct Position {
  std::int32_t id = -1;
  const float* feature = nullptr;  // [width], owned by the caller until feed() returns
};

class Backbone {
 public:
  virtual ~Backbone() = default;
  virtual std::size_t width() const = 0;
  virtual std::size_t vocab_size() const = 0;

  virtual StatePtr create_state() const = 0;
  // A second state that goes on from what was committed, over the same cache: what both hold is
  // held once. Throws ContextError where there are too many.
  virtual StatePtr fork(const StageState& state) const = 0;
  // Appends positions; logits of the last one are kept where `want_logits`. Throws InputError for
  // an unknown id and ContextError where the cells do not suffice, both before anything is fed.
  // Where it throws midway, the positions of this call are forgotten.
  virtual void feed(StageState& state, std::span<const Position> positions, bool want_logits,
                    const StopFlag& stop) const = 0;
  // Of the last position, `[vocab_size]`, valid until the next feed. Empty where that position was
  // fed without want_logits, or was forgotten since.
  virtual std::span<const float> logits(const StageState& state) const = 0;
  // The position that the next feed gives to its first row. It grows; eviction does not lower it.
  virtual std::int64_t next_position(const StageState& state) const = 0;
  // Positions held, the evicted ones not counted.
  virtual std::int64_t held(const StageState& state) const = 0;
  // Forgets [begin, end) for good: takes effect at once and is not undone by rollback(), so it
  // needs a state with nothing provisional. Where it throws, nothing was forgotten.
  virtual void evict(StageState& state, std::int64_t begin, std::int64_t end) const = 0;
  // Forgets everything from `position` on (history of an interrupted reply). As evict().
  virtual void truncate(StageState& state, std::int64_t position) const = 0;
  // Closes the gaps that evictions left from position `keep` on; later positions move down.
  // Returns by how many next_position() fell. As evict(); of several gaps, those closed before the
  // one that fails stay closed. Closes none while a fork shares the cache.
  virtual std::int64_t rebase(StageState& state, std::int64_t keep) const = 0;
};

std::unique_ptr<Backbone> make_token_backbone(std::shared_ptr<const TokenModel> model,
                                              TokenRunnerOptions options);

}  // namespace parley
