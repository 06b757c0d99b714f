// The sampler beside a plain one that sorts everything: penalties, top-k, top-p, slots.
#include "session/think/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "base/philox.h"
#include "check.h"
#include "parley/errors.hpp"

using namespace parley;

namespace {

float plain_score(const SamplingConfig& c, const std::vector<std::int32_t>& ids, float value,
                  std::int32_t id) {
  const auto penalize = [](float score, float by) { return score < 0 ? score * by : score / by; };
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) return value;
  value = penalize(value, c.repetition_penalty);
  const std::size_t n = std::min(ids.size(), static_cast<std::size_t>(c.recent_window));
  if (std::find(ids.end() - static_cast<std::ptrdiff_t>(n), ids.end(), id) != ids.end())
    value = penalize(value, c.recent_penalty);
  return value;
}

struct Kept {
  std::int32_t id;
  double weight;
};

// Ids that may be drawn, the likeliest first.
std::vector<Kept> plain_kept(const SamplingConfig& c, const std::vector<std::int32_t>& ids,
                             const std::vector<float>& logits, const Slot& slot) {
  std::vector<std::pair<float, std::int32_t>> all;
  for (IdRange range : slot)
    for (std::int32_t id = range.begin; id < range.end; ++id) {
      const float value = plain_score(c, ids, logits[static_cast<std::size_t>(id)], id);
      if (std::isfinite(value)) all.emplace_back(-value, id);
    }
  std::sort(all.begin(), all.end());
  if (c.temperature <= 0.0F) all.resize(1);
  if (c.top_k > 0) all.resize(std::min(all.size(), static_cast<std::size_t>(c.top_k)));
  const auto weight = [&](float score) { return std::exp((all[0].first - score) / c.temperature); };
  double total = 0;
  for (const auto& [score, id] : all) total += weight(score);
  std::vector<Kept> kept;
  double mass = 0;
  for (const auto& [score, id] : all) {
    if (c.temperature > 0 && c.top_p < 1.0F && !kept.empty() && mass >= c.top_p * total) break;
    mass += weight(score);
    kept.push_back({id, c.temperature > 0 ? weight(score) : 1.0});
  }
  return kept;
}

// Draw number n, from 1: the same random word, spread over the kept ones.
std::int32_t plain_draw(const std::vector<Kept>& kept, std::uint64_t seed, std::uint32_t n) {
  double mass = 0;
  for (const Kept& one : kept) mass += one.weight;
  const auto word = philox4x32({n, 0, 0x73616d70, 0}, seed)[0];
  double left = (static_cast<double>(word) + 0.5) / 4294967296.0 * mass;
  for (const Kept& one : kept) {
    left -= one.weight;
    if (left < 0) return one.id;
  }
  return kept.back().id;
}

struct Case {
  SamplingConfig config;
  std::vector<float> logits;
  std::vector<std::int32_t> ids;
  Slot slot;
};

constexpr int kIds = 1500;

Case random_case(unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 2.0F);
  Case c;
  c.logits.resize(kIds);
  for (float& logit : c.logits) {
    logit = seed % 3 ? normal(random) : std::round(normal(random));  // many equal ones
    if (random() % 50 == 0) logit = std::numeric_limits<float>::quiet_NaN();
    if (random() % 50 == 0) logit = -std::numeric_limits<float>::infinity();
    if (seed % 4 == 0 && random() % 90 == 0) logit = std::numeric_limits<float>::infinity();
  }
  c.config.temperature = seed % 5 == 0 ? 0.0F : 0.8F;
  c.config.top_k = static_cast<int>(std::array{0, 1, 7, 50, 1000}[random() % 5]);
  c.config.top_p = std::array{1.0F, 0.9F, 0.3F}[random() % 3];
  c.config.repetition_penalty = std::array{1.0F, 1.3F, 0.8F}[random() % 3];
  c.config.recent_penalty = std::array{1.0F, 1.2F}[random() % 2];
  c.config.recent_window = 8;
  for (int i = 0; i < 60; ++i) c.ids.push_back(static_cast<std::int32_t>(random() % kIds));
  c.slot = seed % 2 ? Slot{{0, kIds}} : Slot{{3, 40}, {41, 42}, {100, 433}};
  return c;
}

TEST(draws_are_those_of_a_plain_sampler) {
  for (unsigned seed = 0; seed < 600; ++seed) {
    const Case c = random_case(seed);
    const auto kept = plain_kept(c.config, c.ids, c.logits, c.slot);
    Sampler sampler(c.logits.size(), 100, seed);
    sampler.begin_turn(c.config, c.ids);
    for (std::uint32_t n = 1; n <= 60; ++n)
      CHECK_EQ(sampler.pick(c.logits, c.slot), plain_draw(kept, seed, n));
  }
}

TEST(draws_are_as_frequent_as_they_are_likely) {
  constexpr int kDraws = 20000;
  const std::vector<float> logits = {0.0F, 1.0F, 2.0F, -1.0F, 9.0F};
  Sampler sampler(logits.size(), 10, 3);
  for (const int top_k : {0, 3}) {
    SamplingConfig config;
    config.temperature = 1.0F;
    config.top_k = top_k;
    sampler.begin_turn(config, {});
    std::array<int, 5> drawn{};
    for (int i = 0; i < kDraws; ++i)
      ++drawn[static_cast<std::size_t>(sampler.pick(logits, {{0, 4}}))];
    const double total = std::exp(0.0) + std::exp(1.0) + std::exp(2.0) + (top_k ? 0 : std::exp(-1));
    for (std::size_t id = 0; id < 3; ++id) {
      const double share = std::exp(static_cast<double>(logits[id])) / total;
      CHECK_NEAR(drawn[id] / static_cast<double>(kDraws), share,
                 5 * std::sqrt(share * (1 - share) / kDraws));
    }
    CHECK_EQ(drawn[3] > 0, top_k == 0);
    CHECK_EQ(drawn[4], 0);  // outside the slot
  }
}

TEST(a_slot_without_a_finite_logit_is_an_error) {
  const std::vector<float> logits(40, std::numeric_limits<float>::quiet_NaN());
  Sampler sampler(logits.size(), 10, 3);
  sampler.begin_turn({}, {});
  CHECK_THROWS_MSG(Error, "finite logits", sampler.pick(logits, {{0, 40}}));
}

}  // namespace
