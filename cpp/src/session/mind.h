// What the model says to what was heard; knows no sample, no loudspeaker and no caller.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/stop.h"
#include "parley/events.hpp"
#include "session/listener.h"

namespace parley {

// One thing that the mind said. A list of these is all that a session learns of a step.
struct Said {
  enum class Kind : std::uint8_t {
    listen,      // it goes on listening
    take_floor,  // a reply begins; `id` is what was drawn for that, -1 where nothing was
    text,        // `id` is the token
    code,        // `id` is the code's number in the codebook
    call_text,   // `id` is a token of a call, which nobody reads or hears
    call,        // that call is whole
    speech_end,  // no codes follow in this reply, though text may
    give_back,   // the reply ends, and its sound with it
    end,         // the reply ends; its sound plays out
    forgot,      // `count` positions of the history
  };
  Kind kind = Kind::listen;
  EndReason reason = EndReason::none;  // give_back and end
  std::int32_t id = -1;
  std::int64_t count = 0;
};

// What a step asks of the mind.
struct Moment {
  Heard heard;
  Floor floor = Floor::listening;
  std::size_t codes_wanted = 0;  // that fill a chunk of sound, where draws may stop at that
};

// All its caches move as one: what is forgotten, forked or rolled back is so in each of them. Work
// is provisional until commit(); what is called between steps needs nothing provisional.
class Mind {
 public:
  virtual ~Mind() = default;
  // A step's worth, in the order said; valid until the next call.
  virtual std::span<const Said> think(const Moment& now, Timing& timing, const StopFlag& stop) = 0;
  virtual void commit() = 0;
  virtual void rollback() = 0;

  // Between steps. Forgets what an endless conversation has no room for; where it throws, nothing
  // was forgotten, and the next call does it.
  virtual void make_room(Floor floor, Timing& timing) = 0;
  // A turn's prompt comes next; abandon_turn() goes back to here.
  virtual void begin_turn() = 0;
  virtual void abandon_turn() = 0;
  // The reply under way, or the one just drawn, was heard as far as its first `heard_codes` codes.
  // True: it is over, and what was not heard never happened. False: the mind says so itself in the
  // next step.
  virtual bool interrupt(std::size_t heard_codes) = 0;
  // A new conversation, behind the same system prompt.
  virtual void reset() = 0;

  virtual std::int64_t positions() const = 0;  // that its (first) cache holds
  // Those and what it still has to read: where a turn's prompt will begin.
  virtual std::int64_t next_turn_at() const = 0;

  // Between steps. A second mind that goes on from here; neither learns what the other does, and
  // each may belong to a thread of its own. What both remember is held once.
  virtual std::unique_ptr<Mind> fork() = 0;
  // What fork() copies, as bytes; and of what a mind made with the same options saved. load()
  // throws InputError for other bytes, and leaves one to be reset().
  virtual void save(ByteWriter& to) = 0;
  virtual void load(ByteReader& from) = 0;
};

}  // namespace parley
