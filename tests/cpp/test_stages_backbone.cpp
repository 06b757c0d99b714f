// Tests of the backbone stage over a token model that follows a formula.
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "count_allocations.h"
#include "fake_runners.h"
#include "stages/backbone.h"
#include "stages/position_gaps.h"

using namespace parley;

namespace {

constexpr std::int32_t kVocab = 11;
constexpr std::int32_t kWidth = 4;
const StopFlag kGo;

struct Rig {
  explicit Rig(std::int32_t n_cells = 256, std::int32_t n_batch = 16)
      : model(std::make_shared<fake::TokenModel>(kVocab, kWidth)),
        backbone(make_token_backbone(model, {.n_cells = n_cells, .n_batch = n_batch})),
        state(backbone->create_state()),
        log(model->log),
        runner(model->last) {}

  void feed(const std::vector<Position>& positions, bool want_logits = true) {
    backbone->feed(*state, positions, want_logits, kGo);
  }
  void feed_ids(const std::vector<std::int32_t>& ids) {
    std::vector<Position> positions;
    for (std::int32_t id : ids) positions.push_back({id, nullptr});
    feed(positions);
  }
  std::vector<float> logits() const {
    const auto span = backbone->logits(*state);
    return {span.begin(), span.end()};
  }
  std::int64_t next() const { return backbone->next_position(*state); }
  std::int64_t held() const { return backbone->held(*state); }

  std::shared_ptr<fake::TokenModel> model;
  std::unique_ptr<Backbone> backbone;
  StatePtr state;
  std::shared_ptr<fake::TokenLog> log;
  fake::Tokens* runner;
};

std::vector<Position> random_positions(std::mt19937& random, std::size_t n,
                                       const std::vector<float>& features) {
  std::vector<Position> positions(n);
  for (Position& position : positions) {
    if (random() % 3 == 0) {
      position.feature = features.data() + random() % 5 * kWidth;
    } else {
      position.id = static_cast<std::int32_t>(random() % kVocab);
    }
  }
  return positions;
}

}  // namespace

TEST(any_cut_of_the_positions_gives_the_same_cache) {
  std::vector<float> features(5 * kWidth);
  for (std::size_t i = 0; i < features.size(); ++i) features[i] = std::sin(static_cast<float>(i));
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    const auto positions = random_positions(random, 60, features);
    Rig whole;
    whole.feed(positions);
    Rig cut;
    for (std::size_t i = 0; i < positions.size();) {
      const std::size_t n = std::min<std::size_t>(1 + random() % 20, positions.size() - i);
      cut.feed({positions.begin() + static_cast<std::ptrdiff_t>(i),
                positions.begin() + static_cast<std::ptrdiff_t>(i + n)},
               i + n == positions.size());
      if (random() % 2 == 0) cut.state->commit();
      i += n;
    }
    REQUIRE(!whole.logits().empty());
    CHECK(whole.logits() == cut.logits());
    CHECK_EQ(cut.next(), 60);
    CHECK_EQ(cut.held(), 60);
  }
}

TEST(features_and_ids_take_their_own_rows) {
  Rig rig;
  const std::vector<float> feature = {1, 2, 3, 4};
  rig.feed({{2, nullptr}, {-1, feature.data()}, {3, nullptr}});
  std::vector<float> row(kWidth);
  const std::vector<std::int32_t> id = {3};
  rig.model->embed(id, row);
  Rig plain;
  plain.feed(
      {{2, nullptr}, {7, feature.data()}, {-1, row.data()}});  // an id beside a feature: unused
  CHECK(rig.logits() == plain.logits());
}

TEST(rollback_equals_never_having_run) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    Rig plain;
    Rig wild;
    const std::vector<float> features(5 * kWidth, 0.5F);
    for (int step = 0; step < 12; ++step) {
      const auto positions = random_positions(random, 1 + random() % 6, features);
      if (random() % 2 == 0) {
        wild.feed(random_positions(random, 1 + random() % 6, features), random() % 2 == 0);
        wild.state->rollback();
        CHECK_EQ(wild.next(), plain.next());
      }
      plain.feed(positions);
      wild.feed(positions);
      plain.state->commit();
      wild.state->commit();
      CHECK(wild.logits() == plain.logits());
    }
    CHECK_EQ(wild.held(), plain.held());
  }
}

TEST(logits_are_of_the_last_position_or_empty) {
  Rig rig;
  CHECK(rig.logits().empty());
  rig.feed_ids({1, 2});
  const auto before = rig.logits();
  CHECK(!before.empty());
  rig.state->commit();
  CHECK(rig.logits() == before);
  rig.state->rollback();  // nothing to forget
  CHECK(rig.logits() == before);
  rig.feed({{3, nullptr}}, false);
  CHECK(rig.logits().empty());
  rig.feed_ids({4});
  rig.state->rollback();
  CHECK(rig.logits().empty());
}

TEST(reset_is_as_created) {
  Rig rig;
  rig.feed_ids({1, 2, 3});
  const auto first = rig.logits();
  rig.state->commit();
  rig.backbone->evict(*rig.state, 0, 1);
  rig.state->reset();
  CHECK_EQ(rig.next(), 0);
  CHECK_EQ(rig.held(), 0);
  CHECK(rig.logits().empty());
  rig.feed_ids({1, 2, 3});
  CHECK(rig.logits() == first);
}

TEST(a_stop_in_a_long_prefill_forgets_it_all) {
  Rig rig(256, 8);
  rig.feed_ids({1, 2, 3});
  rig.state->commit();
  StopFlag stop;
  rig.runner->stop_at = rig.log->feeds + 3;
  rig.runner->to_stop = &stop;
  const std::vector<Position> prompt(60, Position{4, nullptr});
  CHECK_THROWS_MSG(CancelledError, "cancel", rig.backbone->feed(*rig.state, prompt, true, stop));
  CHECK_EQ(rig.next(), 3);
  CHECK(rig.logits().empty());
  CHECK_EQ(rig.log->cells.size(), 3U);
  rig.runner->to_stop = nullptr;
  rig.state->rollback();
  Rig plain(256, 8);
  plain.feed_ids({1, 2, 3});
  plain.feed_ids({5});
  rig.feed_ids({5});
  CHECK(rig.logits() == plain.logits());
}

TEST(bad_ids_and_a_full_context_feed_nothing) {
  Rig rig(8, 4);
  CHECK_THROWS_MSG(InputError, "got 11", rig.feed_ids({1, 2, 3, 4, 5, 11}));
  CHECK_THROWS_MSG(InputError, "got -1", rig.feed_ids({-1}));
  CHECK_EQ(rig.log->feeds, 0);
  rig.feed_ids({1, 2, 3, 4, 5, 6});
  rig.state->commit();
  CHECK_THROWS_MSG(ContextError, "at most 8 positions", rig.feed_ids({1, 2, 3}));
  CHECK_EQ(rig.next(), 6);
  rig.backbone->evict(*rig.state, 1, 3);
  rig.feed_ids({1, 2, 3});  // there is room again
  CHECK_EQ(rig.held(), 7);
}

TEST(long_prefills_come_in_batches_of_bounded_memory) {
  Rig rig(256, 16);
  rig.feed(std::vector<Position>(100, Position{1, nullptr}));
  CHECK_EQ(rig.log->largest_feed, 16);
  CHECK_EQ(rig.log->feeds, 7);
}

TEST(eviction_counts_and_rebase_closes_the_gap) {
  Rig rig;
  rig.feed_ids({0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  rig.state->commit();
  rig.backbone->evict(*rig.state, 2, 4);
  rig.backbone->evict(*rig.state, 4, 5);
  CHECK_EQ(rig.held(), 7);
  CHECK_EQ(rig.next(), 10);
  rig.backbone->evict(*rig.state, 7, 8);
  CHECK_EQ(rig.held(), 6);
  CHECK_EQ(rig.backbone->rebase(*rig.state, 2), 4);
  CHECK_EQ(rig.held(), 6);
  CHECK_EQ(rig.next(), 6);
  // The cache is that of the kept ids at positions 0..5, but for the digests' own positions.
  std::vector<std::int64_t> positions;
  for (const fake::Cell& cell : rig.log->cells) positions.push_back(cell.position);
  CHECK(positions == std::vector<std::int64_t>({0, 1, 2, 3, 4, 5}));
  Rig plain;
  plain.feed_ids({0, 1, 5, 6, 8, 9});
  plain.feed_ids({10});
  rig.feed_ids({10});
  CHECK(rig.logits() == plain.logits());
  CHECK_EQ(rig.backbone->rebase((rig.state->commit(), *rig.state), 2), 0);
}

TEST(a_fork_goes_on_by_itself) {
  Rig rig;
  rig.feed_ids({1, 2, 3, 4, 5, 6, 7});
  rig.state->commit();
  rig.backbone->evict(*rig.state, 2, 4);
  Rig other;
  other.feed_ids({9, 9});
  other.state->commit();
  const auto logits = rig.logits();
  copy_state(*rig.state, *other.state);
  CHECK(rig.logits() == logits);  // though saving may take a pass
  CHECK(other.logits() == logits);
  CHECK_EQ(other.next(), 7);
  CHECK_EQ(other.held(), 5);
  rig.feed_ids({8});
  const auto expected = rig.logits();
  rig.state->rollback();
  other.feed_ids({8});
  CHECK(other.logits() == expected);
  other.state->commit();
  CHECK_EQ(other.backbone->rebase(*other.state, 0), 2);
  CHECK_EQ(rig.next(), 7);
  rig.feed_ids({8});
  ByteWriter bytes;
  CHECK_THROWS_MSG(Error, "committed state", rig.state->save(bytes));
}

TEST(truncate_forgets_the_end_and_its_logits) {
  Rig rig;
  rig.feed_ids({0, 1, 2, 3, 4, 5});
  rig.state->commit();
  rig.backbone->evict(*rig.state, 2, 5);
  rig.backbone->truncate(*rig.state, 4);
  CHECK_EQ(rig.next(), 4);
  CHECK_EQ(rig.held(), 2);
  CHECK(rig.logits().empty());
  rig.feed_ids({7});
  rig.state->rollback();
  CHECK_EQ(rig.next(), 4);
  CHECK_EQ(rig.log->cells.size(), 2U);
}

TEST(history_edits_need_a_committed_state) {
  Rig rig;
  rig.feed_ids({0, 1, 2});
  CHECK_THROWS_MSG(Error, "backbone.evict", rig.backbone->evict(*rig.state, 0, 1));
  CHECK_THROWS_MSG(Error, "backbone.truncate", rig.backbone->truncate(*rig.state, 0));
  CHECK_THROWS_MSG(Error, "backbone.rebase", rig.backbone->rebase(*rig.state, 0));
  rig.state->commit();
  CHECK_THROWS_MSG(InputError, "backbone.evict", rig.backbone->evict(*rig.state, 2, 4));
  CHECK_THROWS_MSG(InputError, "backbone.truncate", rig.backbone->truncate(*rig.state, 4));
}

TEST(a_warm_feed_allocates_nothing_and_a_sliding_window_stays_bounded) {
  Rig rig(64, 16);
  const std::vector<Position> chunk(6, Position{2, nullptr});
  std::int64_t evicted = 4;
  const auto step = [&] {
    rig.backbone->feed(*rig.state, chunk, true, kGo);
    rig.state->commit();
    while (rig.held() > 40) {
      rig.backbone->evict(*rig.state, evicted, evicted + 6);
      evicted += 6;
    }
  };
  for (int i = 0; i < 10; ++i) step();
  const long n = check::allocations([&] {
    for (int i = 0; i < 500; ++i) step();
  });
  CHECK_EQ(n, 0);
  CHECK(rig.held() <= 40);
  CHECK_EQ(rig.next(), 510 * 6);
}

TEST(gaps_merge_clip_and_pop_like_a_set_of_positions) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    PositionGaps gaps;
    std::vector<bool> gone(60, false);
    for (int i = 0; i < 12; ++i) {
      const std::int64_t begin = random() % 50;
      const std::int64_t end = begin + 1 + random() % 9;
      gaps.add(begin, end);
      for (std::int64_t p = begin; p < end; ++p) gone[static_cast<std::size_t>(p)] = true;
      CHECK_EQ(gaps.total(), std::count(gone.begin(), gone.end(), true));
    }
    gaps.clip(45);
    std::fill(gone.begin() + 45, gone.end(), false);
    CHECK_EQ(gaps.total(), std::count(gone.begin(), gone.end(), true));
    std::int64_t popped = 0;
    while (const auto range = gaps.last(20)) {
      CHECK(range->begin >= 20);
      popped += range->end - range->begin;
      gaps.drop_last(20);
    }
    CHECK_EQ(popped, std::count(gone.begin() + 20, gone.end(), true));
    CHECK_EQ(gaps.total(), std::count(gone.begin(), gone.begin() + 20, true));
  }
}
