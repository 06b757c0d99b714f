// The llama.cpp runner against the real library: feeding, forgetting, moving, cancelling, threads.
#include <atomic>
#include <chrono>
#include <thread>

#include "check.h"
#include "llama_support.h"
#include "parley/errors.hpp"

using namespace parley;
using namespace support;

namespace {

const double kOrder = check::tolerance("DECODER_ORDER_ABS");

}  // namespace

TEST(feeding_in_parts_gives_the_logits_of_feeding_at_once) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto ids = some_ids(40);
  const std::vector<float> whole = once(*model, ids);
  CHECK_EQ(whole.size(), 64U);
  CHECK(distance(once(*model, ids, exact(7)), whole) < kOrder);  // passes of n_batch
  for (std::size_t cut : {1U, 13U, 39U}) {
    const auto runner = model->create(exact());
    feed(*runner, *model, {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(cut)}, 0);
    feed(*runner, *model, {ids.begin() + static_cast<std::ptrdiff_t>(cut), ids.end()},
         static_cast<std::int64_t>(cut));
    CHECK(distance(runner->logits(), whole) < kOrder);
  }
  const auto runner = model->create(exact());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    runner->feed(rows_of(*model, {ids[i]}), static_cast<std::int64_t>(i), i + 1 == ids.size(),
                 StopFlag());
  }
  CHECK(distance(runner->logits(), whole) < kOrder);
  CHECK(distance(once(*model, some_ids(40, 1)), whole) > 0.1);  // and other ids give others
}

TEST(far_positions_give_the_logits_of_near_ones) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto ids = some_ids(40);
  const auto runner = model->create(exact());
  feed(*runner, *model, ids, std::int64_t{1} << 18);  // as far as a window without a prompt goes
  const double error = distance(runner->logits(), once(*model, ids));
  CHECK(error < check::tolerance("DECODER_FAR_ABS"));
  CHECK(error > 0.0);
}

TEST(other_cache_types_stay_close) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto ids = some_ids(40);
  const std::vector<float> want = once(*model, ids);
  TokenRunnerOptions options = exact();
  options.kv_f32 = false;
  CHECK(distance(once(*model, ids, options), want) < check::tolerance("DECODER_KV_F16_ABS"));
  options.kv_q8_0 = true;
  const double error = distance(once(*model, ids, options), want);
  CHECK(error < check::tolerance("DECODER_KV_Q8_ABS"));
  CHECK(error > 0.0);
  options.kv_f32 = true;
  CHECK_THROWS_MSG(InputError, "kv_q8_0 and kv_f32", model->create(options));
}

TEST(a_saved_cache_goes_on_bit_for_bit) {
  support::need(kLlama);
  const auto model = open_decoder();
  for (const bool f32 : {true, false}) {
    TokenRunnerOptions options = exact();
    options.kv_f32 = f32;
    const auto runner = model->create(options);
    feed(*runner, *model, some_ids(40), 0);
    ByteWriter bytes;
    runner->save(bytes);
    const auto other = model->create(options);
    feed(*other, *model, some_ids(9, 5), 0);  // what the saved one takes the place of
    ByteReader reader(bytes.bytes());
    other->load(reader);
    CHECK_EQ(reader.left(), 0U);
    feed(*runner, *model, {4, 5}, 40);
    feed(*other, *model, {4, 5}, 40);
    CHECK(logits_of(*other) == logits_of(*runner));
    other->erase(41, -1);
    feed(*other, *model, {5}, 41);
    CHECK(distance(other->logits(), runner->logits()) < kOrder);
  }
}

// Positions that were moved and not read since: llama.cpp would save their keys unmoved.
TEST(a_cache_is_saved_with_its_gaps_and_shifts) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto runner = model->create(exact());
  feed(*runner, *model, some_ids(40), 0);
  runner->erase(10, 20);
  for (const bool shifted : {false, true}) {
    if (shifted) runner->shift(20, -1, -10);
    ByteWriter bytes;
    runner->save(bytes);
    const auto other = model->create(exact());
    ByteReader reader(bytes.bytes());
    other->load(reader);
    const std::int64_t position = shifted ? 30 : 40;
    feed(*runner, *model, {4, 5}, position);
    feed(*other, *model, {4, 5}, position);
    CHECK(distance(other->logits(), runner->logits()) < kOrder);
    runner->erase(position, -1);
  }
}

TEST(another_cache_is_refused_and_nothing_is_held) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto runner = model->create(exact());
  feed(*runner, *model, some_ids(40), 0);
  ByteWriter bytes;
  runner->save(bytes);
  const auto refuse = [&](const TokenRunnerOptions& options, std::size_t n) {
    const auto other = model->create(options);
    ByteReader reader(bytes.bytes().first(n));
    CHECK_THROWS_MSG(InputError, "load] expected", other->load(reader));
    feed(*other, *model, {4, 5}, 7);
    CHECK(distance(other->logits(), once(*model, {4, 5}, options, 7)) < kOrder);
  };
  const std::size_t all = bytes.bytes().size();
  refuse(exact(), 3);
  refuse(exact(), all / 2);
  refuse(exact(512, 32), all);  // too few cells
  TokenRunnerOptions other_type = exact();
  other_type.kv_f32 = false;
  refuse(other_type, all);
}

TEST(logits_need_a_feed_that_wants_them) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto runner = model->create(exact());
  CHECK_THROWS_MSG(InputError, "wanted logits", runner->logits());
  runner->feed(rows_of(*model, {1, 2}), 0, false, StopFlag());
  CHECK_THROWS_MSG(InputError, "wanted logits", runner->logits());
  feed(*runner, *model, {3}, 2);
  CHECK(distance(runner->logits(), once(*model, {1, 2, 3})) < kOrder);
}

TEST(erasing_the_end_rolls_back) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto runner = model->create(exact());
  const auto ids = some_ids(20);
  feed(*runner, *model, ids, 0);
  feed(*runner, *model, some_ids(9, 5), 20);
  runner->erase(20, -1);
  feed(*runner, *model, {4}, 20);
  auto all = ids;
  all.push_back(4);
  CHECK(distance(runner->logits(), once(*model, all)) < kOrder);
  runner->erase(0, -1);  // everything: as new
  feed(*runner, *model, ids, 0);
  CHECK(distance(runner->logits(), once(*model, ids)) < kOrder);
  runner->erase(50, 60);  // nothing there
}

// With one layer, what is left of a cache does not depend on what was erased: the logits are those
// of a cache that never held it, at the same positions.
TEST(erasing_the_middle_forgets_it_and_shifting_closes_the_gap) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto prompt = some_ids(10);
  const auto middle = some_ids(8, 3);
  const auto recent = some_ids(12, 7);
  auto kept = prompt;
  kept.insert(kept.end(), recent.begin(), recent.end());
  kept.push_back(9);
  const std::vector<float> want = once(*model, kept);

  const auto runner = model->create(exact());
  feed(*runner, *model, prompt, 0);
  feed(*runner, *model, middle, 10);
  feed(*runner, *model, recent, 18);
  runner->erase(10, 18);
  const auto gap = model->create(exact());  // the same positions, without a shift
  runner->shift(18, -1, -8);
  feed(*runner, *model, {9}, 22);
  CHECK(distance(runner->logits(), want) < kOrder);

  feed(*gap, *model, prompt, 0);
  feed(*gap, *model, middle, 10);
  feed(*gap, *model, recent, 18);
  gap->erase(10, 18);
  feed(*gap, *model, {9}, 30);
  CHECK(distance(gap->logits(), want) >
        10 * check::tolerance("DECODER_ORDER_ABS"));  // the gap is seen through the rotations
}

TEST(positions_move_to_the_end_and_back) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto ids = some_ids(10);
  const std::vector<float> want = once(*model, {ids});
  const auto runner = model->create(exact());
  feed(*runner, *model, {ids.begin(), ids.end() - 1}, 0);
  runner->shift(0, -1, 1000);
  runner->shift(1000, 1009, -1000);
  feed(*runner, *model, {ids.back()}, 9);
  CHECK(distance(runner->logits(), want) < kOrder);
  // Rotations are relative: the same rows further on give the same logits.
  CHECK(distance(once(*model, ids, exact(), 500), want) < 10 * kOrder);
}

TEST(positions_that_cannot_be_are_refused) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto runner = model->create(exact());
  const StopFlag stop;
  const auto row = rows_of(*model, {1});
  feed(*runner, *model, {1, 2, 3}, 0);
  CHECK_THROWS_MSG(InputError, "after the last one, 3, got 2", runner->feed(row, 2, true, stop));
  CHECK_THROWS_MSG(InputError, "after the last one, 3, got 4", runner->feed(row, 4, true, stop));
  CHECK_THROWS_MSG(InputError, "positions from 0", runner->feed(row, -1, true, stop));
  CHECK_THROWS_MSG(InputError, "positions from 0",
                   runner->feed(row, std::int64_t{1} << 31, true, stop));
  CHECK_THROWS_MSG(InputError, "one row or more of 64 values, got 63",
                   runner->feed(std::span(row).first(63), 3, true, stop));
  CHECK_THROWS_MSG(InputError, "one row or more", runner->feed({}, 3, true, stop));
  CHECK_THROWS_MSG(InputError, "in the way", runner->shift(0, -1, -1));
  CHECK_THROWS_MSG(InputError, "in the way", runner->shift(1, -1, -1));
  CHECK_THROWS_MSG(InputError, "in the way", runner->shift(0, -1, std::int64_t{1} << 40));
  feed(*runner, *model, {4}, 3);  // and the runner is as before
  CHECK(distance(runner->logits(), once(*model, {1, 2, 3, 4})) < kOrder);
}

TEST(a_full_cache_names_its_cells_and_stays_as_it_was) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto runner = model->create(exact(16, 40));
  const auto ids = some_ids(39);
  feed(*runner, *model, ids, 0);
  CHECK_THROWS_MSG(ContextError, "at most 40 occupied KV cells, got 39 occupied and 2 more",
                   feed(*runner, *model, {1, 2}, 39));
  feed(*runner, *model, {1}, 39);
  auto all = ids;
  all.push_back(1);
  CHECK(distance(runner->logits(), once(*model, all)) < kOrder);
  CHECK_THROWS_MSG(ContextError, "got 40 occupied and 1 more", feed(*runner, *model, {1}, 40));
  // Positions may grow beyond the cells as long as the occupied ones do not.
  for (std::int64_t chunk = 0; chunk < 30; ++chunk) {
    runner->erase(10 + chunk * 5, 15 + chunk * 5);
    feed(*runner, *model, some_ids(5, static_cast<std::int32_t>(chunk)), 40 + chunk * 5);
  }
  CHECK(distance(runner->logits(), runner->logits()) == 0.0);
}

TEST(a_cancelled_feed_leaves_the_cache_as_it_was) {
  support::need(kLlama);
  const auto model = open_decoder();
  const auto runner = model->create(exact(64, 2048));
  feed(*runner, *model, {1, 2, 3}, 0);
  StopFlag stop;
  stop.set();
  const auto rows = rows_of(*model, some_ids(2000));
  CHECK_THROWS_MSG(CancelledError, "cancelled", runner->feed(rows, 3, true, stop));
  // And from another thread, while the feed is under way.
  int cancelled = 0;
  for (int i = 0; i < 5; ++i) {
    stop.clear();
    std::thread other([&stop] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      stop.set();
    });
    try {
      runner->feed(rows, 3, true, stop);
      runner->erase(3, -1);  // it was done before the flag was set
    } catch (const CancelledError&) {
      ++cancelled;
    }
    other.join();
  }
  CHECK(cancelled > 0);
  feed(*runner, *model, {4}, 3);
  CHECK(distance(runner->logits(), once(*model, {1, 2, 3, 4})) < kOrder);
}

TEST(runners_of_one_model_work_on_threads_of_their_own) {
  support::need(kLlama);
  const auto model = open_decoder();
  constexpr int kWorkers = 4;
  std::vector<std::vector<float>> want;
  for (int w = 0; w < kWorkers; ++w) want.push_back(once(*model, some_ids(50, w)));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&model, &want, &wrong, w] {
      for (int round = 0; round < 10; ++round) {
        const auto runner = model->create(exact());
        const auto ids = some_ids(50, w);
        for (std::size_t i = 0; i < 50; i += 10) {
          const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(i);
          feed(*runner, *model, {begin, begin + 10}, static_cast<std::int64_t>(i));
        }
        const bool good = distance(runner->logits(), want[std::size_t(w)]) < kOrder;
        if (!good || model->tokenize("the<|end|>", true).size() != 2) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST(a_runner_keeps_its_model) {
  support::need(kLlama);
  auto model = open_decoder();
  const auto rows = rows_of(*model, {1, 2});
  const auto runner = model->create(exact());
  model.reset();
  runner->feed(rows, 0, true, StopFlag());
  CHECK_EQ(runner->logits().size(), 64U);
}

TEST(options_out_of_range_are_refused) {
  support::need(kLlama);
  const auto model = open_decoder();
  CHECK_THROWS_MSG(InputError, "KV cells, got 0", model->create(exact(8, 0)));
  CHECK_THROWS_MSG(InputError, "KV cells, got -5", model->create(exact(8, -5)));
  CHECK_THROWS_MSG(InputError, "n_batch", model->create(exact(0)));
}
