// Which listener and which rules make a mode: the one place that tells modes apart.
#include "session/organs.h"

#include <algorithm>
#include <utility>

#include "session/listen/duplex_listener.h"
#include "session/listen/prompt_template.h"
#include "session/listen/turns_listener.h"
#include "session/speak/flow_synthesizer.h"
#include "session/think/one_stream_mind.h"

namespace parley {

namespace {

constexpr int kTurnsFadeMs = 20;

struct ModeParts {
  std::unique_ptr<Listener> listener;
  Rules rules;
  int fade_ms;
  std::string call_begin = {};
};

ModeParts duplex_parts(const SessionParts& parts, ListenerParts ears, std::int32_t vocab_size) {
  Rules rules = duplex_rules(*parts.duplex, parts.vocabulary, vocab_size);
  rules.prompt = expand_template(*parts.tokens, parts.duplex->prompt, {.system = parts.system});
  return {std::make_unique<DuplexListener>(std::move(ears)), std::move(rules),
          parts.duplex->fade_ms};
}

// A call's template as the mind and the session read it: the ids around it, and what stands between
// the first one and the tool's name.
struct CallFormat {
  std::int32_t begin = -1;
  std::int32_t end = -1;
  std::string before_name;
};

CallFormat call_format(const std::string& pattern, const TokenModel& tokens) {
  if (pattern.empty()) return {};
  const std::size_t name = pattern.find("{name}");
  const std::size_t arguments = pattern.find("{arguments}");
  if (name < arguments && arguments != std::string::npos) {
    const std::string before = pattern.substr(0, name);
    const auto begin = tokens.tokenize(before, true);
    const auto end = tokens.tokenize(pattern.substr(arguments).substr(11), true);
    const std::size_t mark = before.find('>');
    if (!begin.empty() && end.size() == 1 && mark != std::string::npos)
      return {begin.front(), end.front(), before.substr(mark + 1)};
  }
  throw BundleError(
      "[session.tools] expected a call as one token, {name}, {arguments} and another token, got "
      "\"" +
      pattern + "\"; mend the manifest's prompts");
}

ModeParts turns_parts(const SessionParts& parts, ListenerParts ears, std::int32_t vocab_size) {
  TurnsListener::Limits limits{static_cast<std::size_t>(parts.context),
                               static_cast<std::size_t>(std::max(0, parts.prefill_budget))};
  const CallFormat call = call_format(parts.turns->tools.call, *parts.tokens);
  Rules rules = turns_rules(*parts.turns, parts.vocabulary, vocab_size);
  know_calls(rules, call.begin, call.end);
  TurnsListener::Told told{parts.system, parts.tools, parts.text_only};
  return {std::make_unique<TurnsListener>(std::move(ears), *parts.turns, std::move(told),
                                          parts.vocabulary.audio_placeholder, limits),
          std::move(rules), kTurnsFadeMs, call.before_name};
}

}  // namespace

Organs make_organs(SessionParts parts) {
  const auto vocab_size = static_cast<std::int32_t>(parts.backbone->vocab_size());
  ListenerParts ears{parts.encoder,   parts.tokens,        parts.clock,
                     parts.front_end, parts.chunk_samples, parts.overlap};
  ModeParts mode = parts.duplex ? duplex_parts(parts, std::move(ears), vocab_size)
                                : turns_parts(parts, std::move(ears), vocab_size);
  mode.rules.context = parts.context;

  Organs organs;
  organs.listener = std::move(mode.listener);
  organs.mind = std::make_unique<OneStreamMind>(OneStreamMind::Parts{
      parts.backbone, std::make_shared<const Rules>(std::move(mode.rules)), parts.clock, parts.seed,
      static_cast<std::size_t>(parts.context) + 1, std::move(parts.on_draw)});
  organs.synthesizer = std::make_unique<FlowSynthesizer>(
      FlowSynthesizer::Parts{parts.flow, parts.vocoder, parts.clock, 2 * parts.codes_per_chunk},
      parts.voice, parts.voice_progress);
  SessionSetup& setup = organs.setup;
  setup.tokens = parts.tokens;
  setup.clock = parts.clock;
  setup.mode = parts.duplex ? Mode::duplex : Mode::turns;
  setup.input_hz = parts.front_end.input_hz;
  setup.chunk_samples = parts.chunk_samples;
  setup.out_chunk_samples = parts.out_chunk_samples;
  setup.codes_per_chunk = parts.codes_per_chunk;
  setup.fade_samples = static_cast<std::size_t>(mode.fade_ms * parts.output_hz / 1000);
  setup.seed = parts.seed;
  setup.overlap = parts.overlap;
  setup.call_begin = std::move(mode.call_begin);
  setup.origin = std::move(parts.origin);
  return organs;
}

Session make_session(SessionParts parts) {
  return make_session(make_organs(std::move(parts)));
}

}  // namespace parley
