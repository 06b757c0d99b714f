// Draws one id from logits under a slot: penalties, temperature, top-k, top-p; knows no turn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "parley/events.hpp"
#include "session/think/slots.h"

namespace parley {

// Deterministic: a draw is a function of the logits, the turn's ids, the seed and the number of the
// draw. Allocates nothing after construction. Draws are provisional until commit().
class Sampler {
 public:
  // `max_ids`: the most ids that one turn can hold, its prompt included.
  Sampler(std::size_t vocab_size, std::size_t max_ids, std::uint64_t seed);
  // With what was committed.
  Sampler(const Sampler& other);

  // Starts a turn: `ids` are those that the penalties cover already (the turn's prompt).
  void begin_turn(const SamplingConfig& config, std::span<const std::int32_t> ids);
  // The same, behind the ids of the turns before, which go on counting.
  void go_on(const SamplingConfig& config, std::span<const std::int32_t> ids);
  // Throws Error where no candidate has a finite logit.
  std::int32_t pick(std::span<const float> logits, const Slot& slot);
  // The id joins the ids that the penalties cover.
  void accept(std::int32_t id);

  void commit();
  void rollback();
  void reset();
  void save(ByteWriter& to) const;
  void load(ByteReader& from);

 private:
  struct Candidate {
    float score;
    std::int32_t id;
  };

  float score(Candidate candidate) const;
  float bar_of(std::span<const float> logits, const Slot& slot, std::size_t wanted);
  std::size_t collect(std::span<const float> logits, const Slot& slot, float bar);
  void rank(std::size_t n);
  std::int32_t draw(std::size_t n_candidates);
  static bool before(const Candidate& a, const Candidate& b);  // the likelier, then the lower id
  void forget(std::size_t n_ids);
  void exchange_turns();

  SamplingConfig config_;
  std::uint64_t seed_;
  std::size_t max_ids_;
  std::vector<std::int32_t> ids_;    // of the turn, oldest first
  std::vector<std::uint32_t> seen_;  // [vocab_size] how often an id is in ids_
  // Scratch.
  std::vector<Candidate> candidates_;  // [vocab_size + 1]
  std::vector<float> peaks_;           // the largest logit of each block of a slot
  std::vector<float> groups_;          // and of each group of blocks
  SamplingConfig former_config_;       // of the turn before, while began_
  std::vector<std::int32_t> former_;   // its ids
  bool began_ = false;                 // a turn, since the last commit
  std::uint64_t n_draws_ = 0;
  std::size_t committed_ids_ = 0;
  std::uint64_t committed_draws_ = 0;
};

// What the sampler picks, or what `hook` takes instead where there is one. Throws InputError where
// that is no id of the logits.
std::int32_t draw_from(Sampler& sampler, std::span<const float> logits, const Slot& slot,
                       const DrawHook& hook);

}  // namespace parley
