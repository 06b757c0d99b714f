// What the model hears: input chunks become the positions that the mind reads; draws nothing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/stop.h"
#include "parley/events.hpp"
#include "stages/backbone.h"

namespace parley {

// What the mind reads in a step; valid until the listener is called again.
struct Heard {
  std::span<const Position> positions;
  bool complete = true;     // an answer may follow; false: more comes first
  bool first_turn = false;  // of the conversation
  std::span<const std::int32_t> ids =
      {};  // of the whole turn's prompt: sampling penalties cover them
};

// Work is provisional until commit(), as with the states of stages. What is called between steps
// needs nothing provisional.
class Listener {
 public:
  virtual ~Listener() = default;
  // One chunk at the input rate, while `floor` says who has the floor.
  virtual void take_in(std::span<const float> chunk, Floor floor, Timing& timing,
                       const StopFlag& stop) = 0;
  // Of this step, behind take_in().
  virtual Heard heard() = 0;
  virtual void commit() = 0;
  virtual void rollback() = 0;

  // Constant, at the input rate.
  virtual std::size_t delay_samples() const = 0;
  // Whether the caller ends the user's turns. Where not, the calls below do nothing.
  virtual bool takes_turns() const { return false; }
  // Between steps: the user's turn ends, heard or as text; its prompt comes behind `at` positions.
  // Throws InputError where nothing was said, ContextError where there is no room for it; then the
  // turn is still there.
  // The last `filled` samples taken in are silence that filled a chunk and nobody recorded.
  virtual void end_turn(std::int64_t /*at*/, std::size_t /*filled*/) {}
  virtual void end_turn_with_text(std::string_view /*text*/, std::int64_t /*at*/) {}
  // What a tool gave comes in a turn of its own; the user's goes on behind it.
  virtual void end_turn_with_result(std::string_view /*name*/, std::string_view /*content*/,
                                    std::int64_t /*at*/) {}
  // Forgets the turn under way, its audio, its prompt, and that it was taken.
  virtual void abandon_turn() {}
  virtual void reset() = 0;

  // Between steps. A second listener that goes on from here; neither learns what the other does,
  // and each may belong to a thread of its own. May wait for work on other threads.
  virtual std::unique_ptr<Listener> fork() = 0;
  // What fork() copies, as bytes; and of what a listener made with the same options saved. load()
  // throws InputError for other bytes, and leaves one to be reset().
  virtual void save(ByteWriter& to) = 0;
  virtual void load(ByteReader& from) = 0;
};

}  // namespace parley
