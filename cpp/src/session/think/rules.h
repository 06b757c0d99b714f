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
  think,   // listen on
  shift,   // take the floor
  break_,  // give it back, sound and all
  end,     // of the reply; its sound plays out
};

struct Rules {
  Plan listening;  // drawn in every step in which the user has the floor; empty: nothing
  Plan taking;     // drawn behind a SHIFT, in its own step; empty: nothing
  Plan speaking;
  std::vector<Meaning> meaning;  // [vocab_size]
  std::int32_t first_code = 0;   // the id of code 0
  std::int32_t stop_id = 0;      // ends a reply that the caller interrupts
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
  const Plan* plan(Floor floor) const {
    const Plan* plan = floor == Floor::speaking    ? &speaking
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

}  // namespace parley
