// What all stages share: a stage is weights, const and shared; a state is what one stream
// remembers.
#pragma once
#include <memory>

#include "base/bytes.h"
#include "parley/errors.hpp"

namespace parley {

// A value beside the weights. Work on it is provisional until commit(); rollback() forgets all
// since the last commit, so a failed, cancelled or interrupted step leaves no half state.
class StageState {
 public:
  virtual ~StageState() = default;
  virtual void commit() = 0;
  virtual void rollback() = 0;
  // As created, without allocating anew.
  virtual void reset() = 0;
  // What the last commit left, as bytes; and of bytes that a state of the same stage (and voice)
  // saved, so that what follows is the same. Both need a state with nothing provisional. load()
  // throws InputError for other bytes, and leaves a state to be reset().
  virtual void save(ByteWriter& to) const = 0;
  virtual void load(ByteReader& from) = 0;
};

// Makes `to` what `from` is, so that both go on by themselves: a fork. The states are of one stage
// and voice, and hold nothing provisional.
inline void copy_state(const StageState& from, StageState& to) {
  ByteWriter bytes;
  from.save(bytes);
  ByteReader reader(bytes.bytes());
  to.load(reader);
}

using StatePtr = std::unique_ptr<StageState>;

// A state as the stage's own type. Throws Error for the state of another stage.
template <typename Own, typename State>
Own& state_as(State& state) {
  auto* own = dynamic_cast<Own*>(&state);
  if (own == nullptr) {
    throw Error(
        "[stages.state] expected a state that this stage created, got another stage's; pass the "
        "one from create_state()");
  }
  return *own;
}

}  // namespace parley
