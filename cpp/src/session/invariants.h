// What holds of a session between any two steps, as one function over a snapshot.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "parley/events.hpp"

namespace parley {

struct Snapshot {
  Floor floor = Floor::listening;
  bool drawing = false;
  bool voicing = false;
  bool told = true;  // whatever the last step had to tell or to drop
  std::uint32_t replies = 0;
  std::int64_t steps = 0;
  std::int64_t played_chunks = 0;
  std::size_t codes = 0;  // that wait for the synthesizer
  std::size_t codes_per_chunk = 0;
  std::size_t queued = 0;    // samples
  bool finished = true;      // no more of the reply's sound is made
  bool job_waits = false;    // for the next step, where sound overlaps
  std::int64_t held = 0;     // positions
  std::int64_t next_at = 0;  // where the next turn begins
};

// The first one that is broken, in words; empty where all hold.
inline std::string broken_invariant(const Snapshot& s) {
  if (s.floor == Floor::closed) return "an open session is not closed";
  if (s.drawing && s.floor != Floor::speaking) return "only a speaking mind draws a reply";
  if (s.voicing && !s.drawing) return "codes follow only while a reply is drawn";
  if (s.floor == Floor::speaking && s.replies == 0) return "who speaks has begun a reply";
  if (!s.told) return "a step tells all that it had to tell";
  if (s.steps != s.played_chunks) return "each step plays one chunk";
  if (!s.voicing && s.codes > 0) return "no code waits behind the last one";
  if (s.codes >= 2 * s.codes_per_chunk) return "a whole chunk of codes does not wait";
  if (s.floor == Floor::listening && !s.job_waits && s.queued > 0)
    return "who listens has nothing left to play";
  if (s.finished && !s.job_waits && s.voicing && s.queued > 0)
    return "sound does not end before its codes";
  if (s.held < 0 || s.next_at < s.held || s.next_at > s.held + 3)
    return "a turn begins behind what is held and at most three ids";
  return "";
}

}  // namespace parley
