// What a mind may draw and what a drawn id means, as a table: all that modes and layouts differ in.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "parley/events.hpp"
#include "session/config.h"
#include "session/think/slots.h"

namespace parley {

enum class Meaning : std::uint8_t {
  nothing,  // read by the model, told to nobody
  text,
  code,
  think,       // listen on
  shift,       // take the floor
  break_,      // give it back, sound and all
  speech_end,  // of a reply's sound; text may follow
  call_begin,  // of a tool
  call_end,
  end,  // of the reply; its sound plays out
};

// How a reply's text and codes lie in one stream.
struct Groups {
  std::int32_t begin = -1;  // a prompt that ends so is answered in speech; -1: every one
  std::int32_t end = -1;    // ends the speech of a history that is cut; -1: needs no end
  std::size_t codes = 0;    // of a group, which is kept or cut whole; 0: there are none
};

struct Rules {
  Plan listening;  // drawn in every step in which the user has the floor; empty: nothing
  Plan taking;     // drawn behind a SHIFT, in its own step; empty: nothing
  Plan speaking;
  Plan voiced;                   // while a reply is in speech; empty: as `speaking`
  std::vector<Meaning> meaning;  // [vocab_size]
  std::int32_t first_code = 0;   // the id of code 0
  Groups groups;
  std::int32_t stop_id = 0;  // ends a reply that the caller interrupts
  // Whether an interrupted mind reads stop_id in its next step and keeps all; else its history is
  // cut back to what was heard, at once.
  bool reads_stop = false;
  SamplingConfig first_sampling;  // of the first turn
  SamplingConfig sampling;
  std::vector<std::int32_t> prompt;  // read once; every conversation begins behind it
  std::int64_t window = 0;           // positions kept behind the prompt; 0: all
  // Limits; 0: none.
  std::int64_t context = 0;  // positions held
  int max_reply_ids = 0;
  int max_reply_steps = 0;
  int max_draws = 0;  // of a step, where a plan repeats

  // Null where nothing is drawn.
  const Plan* plan(Floor floor, bool voicing) const {
    const bool in_groups = voicing && !voiced.slots.empty();
    const Plan* plan = floor == Floor::speaking    ? (in_groups ? &voiced : &speaking)
                       : floor == Floor::listening ? &listening
                                                   : nullptr;
    return plan == nullptr || plan->slots.empty() ? nullptr : plan;
  }
};

// The model's own THINK, SHIFT and BREAK decide, by one control slot per chunk.
Rules duplex_rules(const DuplexConfig& config, const Vocabulary& vocabulary,
                   std::int32_t vocab_size);
// A reply is drawn freely until an end token, as published.
Rules turns_rules(const TurnsConfig& config, const Vocabulary& vocabulary, std::int32_t vocab_size);
// Between these ids text is a call of a tool.
void know_calls(Rules& rules, std::int32_t begin, std::int32_t end);

}  // namespace parley
