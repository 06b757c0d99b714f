// What a session is made of; tests put scripted stages here, bundle/bundle.cpp the real ones.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "audio/front_end.h"
#include "base/clock.h"
#include "parley/parley.hpp"
#include "runners/runner.h"
#include "session/config.h"
#include "stages/backbone.h"
#include "stages/encoder.h"
#include "stages/flow_decoder.h"
#include "stages/vocoder.h"

namespace parley {

struct SessionParts {
  std::shared_ptr<const Encoder> encoder;
  std::shared_ptr<const Backbone> backbone;
  std::shared_ptr<const FlowDecoder> flow;
  std::shared_ptr<const Vocoder> vocoder;
  std::shared_ptr<const TokenModel> tokens;
  std::shared_ptr<const Voice> voice;
  std::shared_ptr<const Clock> clock;

  FrontEndConfig front_end;
  Vocabulary vocabulary;
  std::optional<TurnsConfig> turns;    // set where the mode is turns
  std::optional<DuplexConfig> duplex;  // set where the mode is duplex
  std::string system;
  std::string tools;  // JSON; empty: the conversation is told of none
  bool text_only = false;
  std::size_t chunk_samples = 3840;      // at the input rate
  std::size_t out_chunk_samples = 3840;  // at the output rate
  int output_hz = 24000;
  std::size_t codes_per_chunk = 4;
  std::int64_t context = 8192;  // positions that the backbone was trained for
  std::uint64_t seed = 0;
  int prefill_budget = 0;
  // Sound is made one step later, beside that step's thinking; full segments of a turn are encoded
  // beside the steps that follow.
  bool overlap = false;
  SetupProgress voice_progress;
  DrawHook on_draw;
  std::string origin;  // what saved sessions say of where they come from
};

Session make_session(SessionParts parts);

}  // namespace parley
