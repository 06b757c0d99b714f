// Forgetting old chunks in the backbone, and moving the others down; knows no turn.
#include "session/think/window.h"

#include <algorithm>

namespace parley {

namespace {

// Rotations are computed in 32 bits: at this position their angle is off by 0.02 at the most.
constexpr std::int64_t kExactPositions = std::int64_t{1} << 18U;

}  // namespace

std::int64_t slide(ChunkWindow& window, const Backbone& backbone, StageState& state,
                   std::int64_t context, bool may_rebase) {
  const std::int64_t limit = window.keep() > 0 ? context : std::max(context, kExactPositions);
  if (may_rebase && backbone.next_position(state) > limit)
    window.rebase(backbone.rebase(state, window.keep()));
  const ChunkWindow::Range old = window.excess(backbone.next_position(state));
  if (old.count() > 0) {
    backbone.evict(state, old.begin, old.end);
    window.drop(old.end);
  }
  return old.count();
}

}  // namespace parley
