// Draws one id from logits under a slot: penalties, temperature, top-k, top-p; knows no turn.
#include "session/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/philox.h"
#include "parley/errors.h"

namespace parley {

namespace {

constexpr std::uint32_t kSamplerStream = 0x73616d70;  // keeps draws apart from the flow's noise

constexpr std::size_t kFirstSorted = 64;

// Without a branch per value, so that it takes a vector instruction for many.
bool any_above(std::span<const float> values, float bar) {
  unsigned above = 0;
  for (float value : values) above |= value > bar ? 1U : 0U;
  return above != 0;
}

// The published rule: a score below zero is multiplied, another one divided.
float penalize(float score, float penalty) {
  return score < 0 ? score * penalty : score / penalty;
}

}  // namespace

Sampler::Sampler(std::size_t vocab_size, std::size_t max_ids, std::uint64_t seed) : seed_(seed) {
  ids_.reserve(max_ids);
  former_.reserve(max_ids);
  seen_.assign(vocab_size, 0);
  candidates_.resize(vocab_size);
}

void Sampler::begin_turn(const SamplingConfig& config, std::span<const std::int32_t> ids) {
  // The turn before is kept: a step that fails goes back to it.
  if (!std::exchange(began_, true)) exchange_turns();
  forget(0);
  config_ = config;
  for (std::int32_t id : ids) accept(id);
}

void Sampler::exchange_turns() {
  for (std::int32_t id : ids_) --seen_[static_cast<std::size_t>(id)];
  std::swap(ids_, former_);
  std::swap(config_, former_config_);
  for (std::int32_t id : ids_) ++seen_[static_cast<std::size_t>(id)];
}

void Sampler::accept(std::int32_t id) {
  // A turn at its limit stops counting rather than allocating; the session ends it there anyway.
  if (ids_.size() == ids_.capacity()) return;
  ids_.push_back(id);
  ++seen_[static_cast<std::size_t>(id)];
}

float Sampler::score(std::span<const float> logits, std::int32_t id) const {
  const auto index = static_cast<std::size_t>(id);
  float value = logits[index];
  if (seen_[index] == 0) return value;
  if (config_.repetition_penalty != 1.0F) value = penalize(value, config_.repetition_penalty);
  if (config_.recent_penalty != 1.0F) {
    const auto window = static_cast<std::size_t>(std::max(0, config_.recent_window));
    const auto first = ids_.end() - static_cast<std::ptrdiff_t>(std::min(window, ids_.size()));
    if (std::find(first, ids_.end(), id) != ids_.end())
      value = penalize(value, config_.recent_penalty);
  }
  return value;
}

std::int32_t Sampler::pick(std::span<const float> logits, const Slot& slot) {
  const bool greedy = config_.temperature <= 0.0F;
  const std::size_t wanted = greedy              ? 1
                             : config_.top_k > 0 ? static_cast<std::size_t>(config_.top_k)
                                                 : logits.size();
  const std::size_t n = collect(logits, slot, wanted);
  if (n == 0) {
    throw Error(
        "[sampler.pick] expected finite logits, got none in this slot; do check the backbone's "
        "file with `parley verify`");
  }
  ++n_draws_;
  if (!greedy) return draw(n);
  return std::min_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(n),
                          before)
      ->id;
}

// The `wanted` best candidates and at most as many others, in no order; returns how many.
std::size_t Sampler::collect(std::span<const float> logits, const Slot& slot, std::size_t wanted) {
  // Penalties above 1 only lower a score, so a block whose logits are all too low needs no look.
  const bool may_skip = config_.repetition_penalty >= 1.0F && config_.recent_penalty >= 1.0F;
  constexpr std::int32_t kBlock = 32;
  float bar = -std::numeric_limits<float>::infinity();  // below the wanted best so far
  std::size_t n = 0;
  for (IdRange range : slot) {
    for (std::int32_t begin = range.begin; begin < range.end; begin += kBlock) {
      const std::int32_t end = std::min(begin + kBlock, range.end);
      if (may_skip && !any_above(logits.subspan(static_cast<std::size_t>(begin),
                                                static_cast<std::size_t>(end - begin)),
                                 bar))
        continue;
      for (std::int32_t id = begin; id < end; ++id) {
        const float value = score(logits, id);
        if (!std::isfinite(value) || value <= bar) continue;  // of equals the first id wins
        candidates_[n++] = {value, id};
        if (n < 2 * wanted) continue;
        const auto first = candidates_.begin();
        const auto last = first + static_cast<std::ptrdiff_t>(wanted) - 1;
        std::nth_element(first, last, first + static_cast<std::ptrdiff_t>(n), before);
        bar = last->score;
        n = wanted;
      }
    }
  }
  return n;
}

std::int32_t Sampler::draw(std::size_t n) {
  const std::size_t k =
      config_.top_k > 0 ? std::min(n, static_cast<std::size_t>(config_.top_k)) : n;
  // Only as much is sorted as the draw looks at: without top-k that is a small part of the slot.
  std::size_t sorted = 0;
  const auto at = [&](std::size_t i) {
    if (i >= sorted) {
      const std::size_t more = k < n ? k : std::min(k, std::max(kFirstSorted, 4 * sorted));
      const auto first = candidates_.begin();
      std::partial_sort(first + static_cast<std::ptrdiff_t>(sorted),
                        first + static_cast<std::ptrdiff_t>(more),
                        first + static_cast<std::ptrdiff_t>(n), before);
      sorted = more;
    }
    return candidates_[i];
  };
  const float top = at(0).score;
  const auto weight = [&](const Candidate& c) {
    return std::exp((c.score - top) / config_.temperature);
  };
  double total = 0.0;
  for (std::size_t i = 0; i < k; ++i) total += weight(candidates_[i]);
  // Top-p keeps the fewest candidates whose mass reaches top_p, always the first one.
  double mass = config_.top_p < 1.0F ? 0.0 : total;
  std::size_t kept = config_.top_p < 1.0F ? 0 : k;
  while (kept < k && (kept == 0 || mass < config_.top_p * total)) mass += weight(at(kept++));

  const auto counter = static_cast<std::uint32_t>(n_draws_);
  const auto high = static_cast<std::uint32_t>(n_draws_ >> 32);
  const auto word = philox4x32({counter, high, kSamplerStream, 0}, seed_)[0];
  double left = (static_cast<double>(word) + 0.5) / 4294967296.0 * mass;
  for (std::size_t i = 0; i + 1 < kept; ++i) {
    left -= weight(at(i));
    if (left < 0) return at(i).id;
  }
  return at(kept - 1).id;
}

bool Sampler::before(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

void Sampler::forget(std::size_t n_ids) {
  while (ids_.size() > n_ids) {
    --seen_[static_cast<std::size_t>(ids_.back())];
    ids_.pop_back();
  }
}

void Sampler::commit() {
  committed_ids_ = ids_.size();
  committed_draws_ = n_draws_;
  began_ = false;
}

void Sampler::rollback() {
  if (std::exchange(began_, false)) exchange_turns();
  forget(std::min(committed_ids_, ids_.size()));
  n_draws_ = committed_draws_;
}

void Sampler::reset() {
  forget(0);
  n_draws_ = 0;
  commit();
}

}  // namespace parley
