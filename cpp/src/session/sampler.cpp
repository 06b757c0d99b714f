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
  Candidate best{-std::numeric_limits<float>::infinity(), -1};
  std::size_t n = 0;
  for (IdRange range : slot) {
    for (std::int32_t id = range.begin; id < range.end; ++id) {
      const float value = score(logits, id);
      if (!std::isfinite(value)) continue;
      if (value > best.score) best = {value, id};
      if (!greedy) candidates_[n++] = {value, id};
    }
  }
  if (best.id < 0) {
    throw Error(
        "[sampler.pick] expected finite logits, got none in this slot; do check the backbone's "
        "file with `parley verify`");
  }
  ++n_draws_;
  return greedy ? best.id : draw(n);
}

std::int32_t Sampler::draw(std::size_t n) {
  const auto first = candidates_.begin();
  const auto by_score = [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
  };
  const std::size_t k =
      config_.top_k > 0 ? std::min(n, static_cast<std::size_t>(config_.top_k)) : n;
  const auto middle = first + static_cast<std::ptrdiff_t>(k);
  std::partial_sort(first, middle, first + static_cast<std::ptrdiff_t>(n), by_score);

  const float top = candidates_[0].score;
  double total = 0.0;
  for (std::size_t i = 0; i < k; ++i) {
    // The score makes room for the probability; its order is fixed by now.
    candidates_[i].score = std::exp((candidates_[i].score - top) / config_.temperature);
    total += candidates_[i].score;
  }
  // Top-p keeps the fewest candidates whose mass reaches top_p, always the first one.
  double mass = 0.0;
  std::size_t kept = 0;
  while (kept < k && (kept == 0 || mass < config_.top_p * total)) mass += candidates_[kept++].score;

  const auto counter = static_cast<std::uint32_t>(n_draws_);
  const auto high = static_cast<std::uint32_t>(n_draws_ >> 32);
  const auto word = philox4x32({counter, high, kSamplerStream, 0}, seed_)[0];
  double left = (static_cast<double>(word) + 0.5) / 4294967296.0 * mass;
  for (std::size_t i = 0; i + 1 < kept; ++i) {
    left -= candidates_[i].score;
    if (left < 0) return candidates_[i].id;
  }
  return candidates_[kept - 1].id;
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
