// What a session is put together from: three organs and a few numbers; tests put scripted ones
// here.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "parley/parley.hpp"
#include "runners/runner.h"
#include "session/listener.h"
#include "session/mind.h"
#include "session/parts.h"
#include "session/speak/synthesizer.h"

namespace parley {

// What a session and its forks have in common.
struct SessionSetup {
  std::shared_ptr<const TokenModel> tokens;  // spells what the mind says
  std::shared_ptr<const Clock> clock;
  Mode mode = Mode::duplex;  // for show
  int input_hz = 24000;
  std::size_t chunk_samples = 3840;      // at the input rate
  std::size_t out_chunk_samples = 3840;  // at the output rate
  std::size_t codes_per_chunk = 4;
  std::size_t fade_samples = 480;  // of a reply that stops early
  std::uint64_t seed = 0;          // of the sound
  bool overlap = false;            // sound is made one step later, beside that step's thinking
  std::string call_begin;          // of a tool, before its name
  std::string origin;              // what saved sessions say of where they come from
};

struct Organs {
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Mind> mind;
  std::unique_ptr<Synthesizer> synthesizer;
  SessionSetup setup;
};

// The listener and the mind of the mode that the parts are for.
Organs make_organs(SessionParts parts);

Session make_session(Organs organs);

}  // namespace parley
