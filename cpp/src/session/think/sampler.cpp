// Draws one id from logits under a slot: penalties, temperature, top-k, top-p; knows no turn.
#include "session/think/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "base/philox.h"
#include "parley/errors.hpp"

namespace parley {

namespace {

constexpr std::uint32_t kSamplerStream = 0x73616d70;  // keeps draws apart from the flow's noise

constexpr std::size_t kRanked = 256;  // sorted by counting; more are sorted as far as needed
constexpr std::size_t kFirstSorted = 64;
constexpr std::size_t kFewestGroups = 64;
constexpr float kMost = std::numeric_limits<float>::max();
constexpr float kNoBar = -kMost;    // every finite logit reaches it
constexpr std::int32_t kBlock = 8;  // ids that share a peak

void raise(float& to, float value) {
  to = value > to ? value : to;  // not a NaN
}

// The largest value, -inf where none is a number. Lanes apart, so that it takes vector
// instructions.
float peak_of(const float* values, std::int32_t n) {
  std::array<float, 4> lanes;
  lanes.fill(-std::numeric_limits<float>::infinity());
  if (n == kBlock) {
    for (std::size_t i = 0; i < kBlock; i += lanes.size())
      for (std::size_t j = 0; j < lanes.size(); ++j) raise(lanes[j], values[i + j]);
  } else {
    for (std::int32_t i = 0; i < n; ++i) raise(lanes[0], values[i]);
  }
  for (std::size_t j = 1; j < lanes.size(); ++j) raise(lanes[0], lanes[j]);
  return lanes[0];
}

// Calls visit(block, begin, end) for every kBlock ids of a slot's ranges, or what is left of one.
template <typename Visit>
void for_blocks(const Slot& slot, Visit visit) {
  std::size_t block = 0;
  for (IdRange range : slot)
    for (std::int32_t begin = range.begin; begin < range.end; begin += kBlock)
      visit(block++, begin, std::min(begin + kBlock, range.end));
}

// The published rule: a score below zero is multiplied, another one divided.
float penalize(float score, float penalty) {
  return score < 0 ? score * penalty : score / penalty;
}

}  // namespace

Sampler::Sampler(std::size_t vocab_size, std::size_t max_ids, std::uint64_t seed)
    : seed_(seed), max_ids_(max_ids) {
  ids_.reserve(max_ids);
  former_.reserve(max_ids);
  seen_.assign(vocab_size, 0);
  candidates_.resize(vocab_size + 1);
  peaks_.resize(vocab_size);
  groups_.resize(vocab_size);
}

void Sampler::begin_turn(const SamplingConfig& config, std::span<const std::int32_t> ids) {
  // The turn before is kept: a step that fails goes back to it.
  if (!std::exchange(began_, true)) exchange_turns();
  forget(0);
  config_ = config;
  for (std::int32_t id : ids) accept(id);
}

void Sampler::go_on(const SamplingConfig& config, std::span<const std::int32_t> ids) {
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
  if (ids_.size() == max_ids_) return;
  ids_.push_back(id);
  ++seen_[static_cast<std::size_t>(id)];
}

float Sampler::score(Candidate candidate) const {
  const auto [logit, id] = candidate;
  if (seen_[static_cast<std::size_t>(id)] == 0) return logit;
  float value = logit;
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
  const std::size_t n = collect(logits, slot, bar_of(logits, slot, wanted));
  if (n == 0) {
    throw Error(
        "[sampler.pick] expected finite logits, got none in this slot; check the backbone's "
        "file with `parley verify`");
  }
  ++n_draws_;
  if (!greedy) return draw(n);
  return std::min_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(n),
                          before)
      ->id;
}

// Fills peaks_ and returns a bar that the `wanted` best scores reach: as many groups of blocks have
// an id that does, were it lowered by every penalty.
float Sampler::bar_of(std::span<const float> logits, const Slot& slot, std::size_t wanted) {
  std::size_t n = 0;
  for_blocks(slot, [&](std::size_t block, std::int32_t begin, std::int32_t end) {
    peaks_[block] = peak_of(logits.data() + begin, end - begin);
    n = block + 1;
  });
  const bool only_lower = config_.repetition_penalty >= 1.0F && config_.recent_penalty >= 1.0F;
  if (!only_lower || wanted > n) return kNoBar;
  // With twice as many groups as wanted few other ids reach the bar, and it is found soon.
  const std::size_t n_groups = std::min(n, std::max(kFewestGroups, 2 * wanted));
  std::copy_n(peaks_.begin(), n_groups, groups_.begin());
  for (std::size_t row = n_groups; row < n; row += n_groups) {
    const std::size_t size = std::min(n_groups, n - row);
    for (std::size_t i = 0; i < size; ++i) raise(groups_[i], peaks_[row + i]);
  }
  const auto last = groups_.begin() + static_cast<std::ptrdiff_t>(wanted) - 1;
  std::nth_element(groups_.begin(), last, groups_.begin() + static_cast<std::ptrdiff_t>(n_groups),
                   std::greater<>());
  // An infinite logit is no score.
  if (std::any_of(groups_.begin(), last + 1, [](float peak) { return peak > kMost; }))
    return kNoBar;
  const float bar = penalize(penalize(*last, config_.repetition_penalty), config_.recent_penalty);
  return std::max(bar, kNoBar);
}

// The ids whose logit reaches the bar, in no order; returns how many.
std::size_t Sampler::collect(std::span<const float> logits, const Slot& slot, float bar) {
  std::size_t n = 0;
  for_blocks(slot, [&](std::size_t block, std::int32_t begin, std::int32_t end) {
    if (!(peaks_[block] >= bar)) return;
    // Written in any case and kept by its count: which ones stay is a coin's toss to a processor.
    for (std::int32_t id = begin; id < end; ++id) {
      const float value = logits[static_cast<std::size_t>(id)];
      candidates_[n] = {value, id};
      n += static_cast<std::size_t>(value >= bar) & static_cast<std::size_t>(value <= kMost);
    }
  });
  for (std::size_t i = 0; i < n; ++i) candidates_[i].score = score(candidates_[i]);
  return n;
}

// Sorts the first n <= kRanked by counting those before each: no branch that a processor would have
// to guess.
void Sampler::rank(std::size_t n) {
  std::array<float, kRanked> scores;
  std::array<Candidate, kRanked> sorted;
  std::array<std::uint16_t, kRanked> equals{};  // of the candidate at a place, met so far
  for (std::size_t i = 0; i < n; ++i) scores[i] = candidates_[i].score;
  for (std::size_t i = 0; i < n; ++i) {
    std::size_t place = 0;
    for (std::size_t j = 0; j < n; ++j) place += scores[j] > scores[i] ? 1U : 0U;
    // They come by their ids, so of equals the lower id goes first.
    sorted[place + equals[place]++] = candidates_[i];
  }
  std::copy_n(sorted.begin(), n, candidates_.begin());
}

std::int32_t Sampler::draw(std::size_t n) {
  const std::size_t k =
      config_.top_k > 0 ? std::min(n, static_cast<std::size_t>(config_.top_k)) : n;
  // Only as much is sorted as the draw looks at: without top-k that is a small part of the slot.
  std::size_t sorted = 0;
  if (n <= kRanked) rank(sorted = n);
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

Sampler::Sampler(const Sampler& other) : Sampler(other.seen_.size(), other.max_ids_, other.seed_) {
  config_ = other.config_;
  for (std::int32_t id : other.ids_) accept(id);
  n_draws_ = other.n_draws_;
  commit();
}

void Sampler::save(ByteWriter& to) const {
  to.put(config_);
  to.put_all(ids_);
  to.put(n_draws_);
}

void Sampler::load(ByteReader& from) {
  reset();
  config_ = from.get<SamplingConfig>();
  const auto ids = from.get_some<std::int32_t>(max_ids_);
  for (std::int32_t id : ids) {
    ByteReader::require(id >= 0 && static_cast<std::size_t>(id) < seen_.size(),
                        "ids of this vocabulary");
    accept(id);
  }
  n_draws_ = from.get<std::uint64_t>();
  commit();
}

std::int32_t draw_from(Sampler& sampler, std::span<const float> logits, const Slot& slot,
                       const DrawHook& hook) {
  const std::int32_t picked = sampler.pick(logits, slot);
  if (!hook) return picked;
  const std::int32_t id = hook({logits, slot, picked});
  if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) return id;
  throw InputError("[session.draw] expected on_draw to return an id below " +
                   std::to_string(logits.size()) + ", got " + std::to_string(id) +
                   "; return one of the vocabulary");
}

}  // namespace parley
