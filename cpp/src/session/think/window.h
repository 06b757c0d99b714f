// Which positions of an endless conversation to forget: whole chunks, oldest first.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "stages/backbone.h"

namespace parley {

// Remembers where the chunks behind a kept prompt start. Allocates nothing after construction.
class ChunkWindow {
 public:
  struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t count() const { return end - begin; }
  };

  // `keep`: positions of the prompt in front; `window`: positions kept behind it.
  ChunkWindow(std::int64_t keep, std::int64_t window)
      : keep_(keep), window_(window), starts_(static_cast<std::size_t>(window) + 2) {}

  void add_chunk(std::int64_t start) {
    if (size_ == starts_.size())
      pop();  // cannot happen while excess() is dropped: chunks hold >= 1
    starts_[(head_ + size_++) % starts_.size()] = start;
  }

  // What has to go so that at most `window` positions in whole chunks stay before `next`.
  Range excess(std::int64_t next) const {
    if (size_ == 0) return {next, next};
    std::size_t n = 0;
    while (n + 1 < size_ && next - start(n) > window_) ++n;
    return {start(0), start(n)};
  }
  // The chunks before `end` are gone.
  void drop(std::int64_t end) {
    while (size_ > 0 && start(0) < end) pop();
  }

  // The chunks moved down by `by` positions.
  void rebase(std::int64_t by) {
    for (std::size_t i = 0; i < size_; ++i) starts_[(head_ + i) % starts_.size()] -= by;
  }
  void clear() { head_ = size_ = 0; }
  void save(ByteWriter& to) const {
    std::vector<std::int64_t> starts(size_);
    for (std::size_t i = 0; i < size_; ++i) starts[i] = start(i);
    to.put_all(starts);
  }
  // `next`: the position behind the last chunk.
  void load(ByteReader& from, std::int64_t next) {
    clear();
    std::int64_t least = keep_;
    for (const std::int64_t start : from.get_some<std::int64_t>(starts_.size())) {
      ByteReader::require(start >= least && start < next, "chunks in their order");
      add_chunk(start);
      least = start + 1;
    }
  }
  std::int64_t keep() const { return keep_; }

 private:
  std::int64_t start(std::size_t i) const { return starts_[(head_ + i) % starts_.size()]; }
  void pop() {
    head_ = (head_ + 1) % starts_.size();
    --size_;
  }

  std::int64_t keep_;
  std::int64_t window_;
  std::vector<std::int64_t> starts_;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

// Before a chunk: forgets what exceeds the window and returns how many positions that was. Where
// `may_rebase`, later positions move down once the prompt lies more than `context` behind them; a
// window without a prompt moves only where positions get too large for exact rotations. Needs a
// committed state; where it throws, nothing was forgotten, and the next call does it.
//
// Forgetting is free; moving rotates every key, which `parley bench backbone FILE --window`
// measures: at 1024 positions of the published shape 12 % of a listening chunk. A speaking chunk
// has five passes and more stages, so a move belongs into a listening one.
std::int64_t slide(ChunkWindow& window, const Backbone& backbone, StageState& state,
                   std::int64_t context, bool may_rebase);

}  // namespace parley
