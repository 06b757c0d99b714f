// The rules of native duplex and of whole turns, compiled from what a bundle lays down.
#include "session/think/rules.h"

#include <algorithm>

namespace parley {

namespace {

// Ids behind the codes are padding of the vocabulary and mean nothing.
std::vector<Meaning> spoken_or_written(const Vocabulary& vocabulary, std::int32_t vocab_size) {
  std::vector<Meaning> meaning(static_cast<std::size_t>(vocab_size), Meaning::nothing);
  const std::int32_t end = vocabulary.audio_begin + vocabulary.audio_codes;
  for (std::int32_t id = 0; id < vocab_size; ++id) {
    if (id < vocabulary.audio_begin) meaning[static_cast<std::size_t>(id)] = Meaning::text;
    if (id >= vocabulary.audio_begin && id < end)
      meaning[static_cast<std::size_t>(id)] = Meaning::code;
  }
  return meaning;
}

void mean(Rules& rules, std::int32_t id, Meaning meaning) {
  if (id >= 0 && static_cast<std::size_t>(id) < rules.meaning.size())
    rules.meaning[static_cast<std::size_t>(id)] = meaning;
}

// Text, a pad in its place or the end of the speech; then codes.
Plan group_plan(const SpeechConfig& speech, const Vocabulary& vocabulary, std::int32_t vocab_size) {
  Slot text = compile_slot({SlotKind::text}, vocabulary, vocab_size);
  for (const std::int32_t id : {speech.text_pad, speech.end}) text.push_back({id, id + 1});
  std::sort(text.begin(), text.end(), [](IdRange a, IdRange b) { return a.begin < b.begin; });
  Plan plan;
  plan.repeats = true;
  plan.slots.assign(static_cast<std::size_t>(speech.text), text);
  plan.slots.insert(plan.slots.end(), static_cast<std::size_t>(speech.audio),
                    compile_slot({SlotKind::audio}, vocabulary, vocab_size));
  return plan;
}

}  // namespace

Rules duplex_rules(const DuplexConfig& config, const Vocabulary& vocabulary,
                   std::int32_t vocab_size) {
  const auto compile = [&](const SlotPlan& plan) {
    return compile_plan(plan, vocabulary, vocab_size);
  };
  Rules rules;
  rules.listening = compile(config.plans.listen);
  rules.taking = compile(config.plans.shift);
  rules.speaking = compile(config.plans.speak);
  rules.meaning = spoken_or_written(vocabulary, vocab_size);
  mean(rules, vocabulary.text_pad, Meaning::nothing);
  mean(rules, vocabulary.break_, Meaning::break_);
  mean(rules, vocabulary.shift, Meaning::shift);
  mean(rules, vocabulary.think, Meaning::think);
  rules.first_code = vocabulary.audio_begin;
  rules.stop_id = vocabulary.break_;
  rules.reads_stop = true;
  rules.first_sampling = rules.sampling = config.sampling;
  rules.window = config.window_positions;
  rules.max_reply_steps = config.max_reply_chunks;
  return rules;
}

void know_calls(Rules& rules, std::int32_t begin, std::int32_t end) {
  mean(rules, begin, Meaning::call_begin);
  mean(rules, end, Meaning::call_end);
}

Rules turns_rules(const TurnsConfig& config, const Vocabulary& vocabulary,
                  std::int32_t vocab_size) {
  Rules rules;
  rules.speaking.slots = {compile_slot({SlotKind::any}, vocabulary, vocab_size)};
  rules.speaking.repeats = true;
  rules.meaning = spoken_or_written(vocabulary, vocab_size);
  for (const auto& [name, id] : vocabulary.control) mean(rules, id, Meaning::nothing);
  if (config.speech.has_groups()) {
    mean(rules, config.speech.end, Meaning::speech_end);
    rules.groups = {config.speech.begin, config.speech.end,
                    static_cast<std::size_t>(config.speech.audio)};
    if (config.speech.held_to) rules.voiced = group_plan(config.speech, vocabulary, vocab_size);
  }
  for (std::int32_t id : config.end) mean(rules, id, Meaning::end);
  rules.first_code = vocabulary.audio_begin;
  rules.stop_id = config.close;
  rules.first_sampling = config.first_sampling;
  rules.sampling = config.sampling;
  rules.max_reply_ids = config.max_new_tokens;
  rules.max_draws = config.max_tokens_per_step;
  return rules;
}

}  // namespace parley
