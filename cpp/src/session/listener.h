// What the model hears: input chunks become the positions that the backbone reads; draws nothing.
#pragma once
#include <cstdint>
#include <memory>
#include <span>

#include "audio/front_end.h"
#include "base/clock.h"
#include "base/stop.h"
#include "parley/events.h"
#include "runners/runner.h"
#include "stages/backbone.h"
#include "stages/encoder.h"

namespace parley {

// Work is provisional until commit(), as with the states of stages.
class Listener {
 public:
  virtual ~Listener() = default;
  // One chunk at the input rate, while `floor` says who has the floor.
  virtual void take_in(std::span<const float> chunk, Floor floor, Timing& timing,
                       const StopFlag& stop) = 0;
  // What the backbone reads in this step; valid until the next call.
  virtual std::span<const Position> positions() = 0;
  // Whether draws may follow those positions.
  virtual bool complete() const = 0;
  virtual std::size_t delay_samples() const = 0;  // constant, at the input rate
  virtual void commit() = 0;
  virtual void rollback() = 0;
  virtual void reset() = 0;
};

struct ListenerParts {
  std::shared_ptr<const Encoder> encoder;
  std::shared_ptr<const TokenModel> tokens;
  std::shared_ptr<const Clock> clock;
  FrontEndConfig front_end;
  std::size_t chunk_samples = 3840;  // at the input rate
  bool beside = false;               // turns: full segments are encoded on a thread of their own
};

}  // namespace parley
