// Turn policies: which plan of slots a step draws, and what a drawn id means; they do nothing else.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "parley/events.h"
#include "session/config.h"
#include "session/think/slots.h"

namespace parley {

enum class Drawn : std::uint8_t { text, silent_text, audio, think, shift, break_, end };

// Ids behind the codes are padding of the vocabulary and mean nothing.
inline Drawn spoken_or_written(const Vocabulary& vocabulary, std::int32_t id) {
  if (id < vocabulary.audio_begin) return Drawn::text;
  return id - vocabulary.audio_begin < vocabulary.audio_codes ? Drawn::audio : Drawn::silent_text;
}

class Policy {
 public:
  virtual ~Policy() = default;
  // Null where nothing is drawn in that state.
  virtual const Plan* plan(Floor floor) const = 0;
  // What follows SHIFT in its own chunk; empty: nothing.
  virtual const Plan& after_shift() const = 0;
  virtual Drawn meaning(std::int32_t id) const = 0;
  // The id that stops a reply which the caller interrupts.
  virtual std::int32_t stop_id() const = 0;
};

// The model's own THINK, SHIFT and BREAK decide.
class DuplexPolicy final : public Policy {
 public:
  DuplexPolicy(const DuplexConfig& config, const Vocabulary& vocabulary, std::int32_t vocab_size)
      : vocabulary_(vocabulary),
        listen_(compile_plan(config.plans.listen, vocabulary, vocab_size)),
        shift_(compile_plan(config.plans.shift, vocabulary, vocab_size)),
        speak_(compile_plan(config.plans.speak, vocabulary, vocab_size)) {}

  const Plan* plan(Floor floor) const override {
    return floor == Floor::speaking ? &speak_ : &listen_;
  }
  const Plan& after_shift() const override { return shift_; }
  Drawn meaning(std::int32_t id) const override {
    if (id == vocabulary_.think) return Drawn::think;
    if (id == vocabulary_.shift) return Drawn::shift;
    if (id == vocabulary_.break_) return Drawn::break_;
    if (id == vocabulary_.text_pad) return Drawn::silent_text;
    return spoken_or_written(vocabulary_, id);
  }
  std::int32_t stop_id() const override { return vocabulary_.break_; }

 private:
  Vocabulary vocabulary_;
  Plan listen_;
  Plan shift_;
  Plan speak_;
};

// A reply is drawn freely until an end token, as published.
class TurnsPolicy final : public Policy {
 public:
  TurnsPolicy(const TurnsConfig& config, const Vocabulary& vocabulary, std::int32_t vocab_size)
      : config_(config), vocabulary_(vocabulary) {
    for (const auto& [name, id] : vocabulary.control) control_.push_back(id);
    free_.slots = {compile_slot({SlotKind::any}, vocabulary, vocab_size)};
    free_.repeats = true;
  }

  const Plan* plan(Floor floor) const override {
    return floor == Floor::speaking ? &free_ : nullptr;
  }
  const Plan& after_shift() const override { return nothing_; }
  Drawn meaning(std::int32_t id) const override {
    if (std::find(config_.end.begin(), config_.end.end(), id) != config_.end.end())
      return Drawn::end;
    if (std::find(control_.begin(), control_.end(), id) != control_.end())
      return Drawn::silent_text;
    return spoken_or_written(vocabulary_, id);
  }
  std::int32_t stop_id() const override { return config_.close; }

 private:
  TurnsConfig config_;
  Vocabulary vocabulary_;
  std::vector<std::int32_t> control_;
  Plan free_;
  Plan nothing_;
};

}  // namespace parley
