// What all stages share: a stage is weights, const and shared; a state is what one stream remembers.
#pragma once
#include <memory>

namespace parley {

// A value beside the weights. Work on it is provisional until commit(); rollback() forgets all since
// the last commit, so a failed, cancelled or interrupted step leaves no half state.
class StageState {
 public:
  virtual ~StageState() = default;
  virtual void commit() = 0;
  virtual void rollback() = 0;
  // As created, without allocating anew.
  virtual void reset() = 0;
};

using StatePtr = std::unique_ptr<StageState>;

}  // namespace parley
