// The llama.cpp runner against the real library and a one-layer decoder of width 64.
#include "runners/llama/model.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

#include "check.h"
#include "parley/errors.h"
#include "runner_support.h"
#include "runners/llama/gguf.h"
#include "scratch_folder.h"

using namespace parley;

namespace {

constexpr const char* kLibrary = "PARLEY_LLAMA";
// Sums in another order: one pass of 40 rows against passes of 7, in f32.
constexpr double kOrderTolerance = 1e-4;
// The same with keys and values in f16 and in 8 bits.
constexpr double kHalfTolerance = 2e-2;
constexpr double kByteTolerance = 2e-1;

std::shared_ptr<const TokenModel> open(const char* name = "decoder_f32.gguf") {
  return open_token_model("", support::data(name));
}

TokenRunnerOptions exact(std::int32_t n_batch = 512, std::int32_t n_cells = 256) {
  TokenRunnerOptions options;
  options.n_cells = n_cells;
  options.n_batch = n_batch;
  options.threads = 1;
  options.kv_f32 = true;
  return options;
}

std::vector<float> rows_of(const TokenModel& model, const std::vector<std::int32_t>& ids) {
  std::vector<float> rows(ids.size() * static_cast<std::size_t>(model.width()));
  model.embed(ids, rows);
  return rows;
}

// n ids that repeat late.
std::vector<std::int32_t> some_ids(std::size_t n, std::int32_t seed = 0) {
  std::vector<std::int32_t> ids(n);
  for (std::size_t i = 0; i < n; ++i) {
    ids[i] = static_cast<std::int32_t>((static_cast<std::int32_t>(i * i + 3 * i) + seed) % 61);
  }
  return ids;
}

void feed(TokenRunner& runner, const TokenModel& model, const std::vector<std::int32_t>& ids,
          std::int64_t position) {
  runner.feed(rows_of(model, ids), position, true, StopFlag());
}

std::vector<float> logits_of(const TokenRunner& runner) {
  return {runner.logits().begin(), runner.logits().end()};
}

double distance(std::span<const float> a, std::span<const float> b) {
  double most = a.size() == b.size() ? 0.0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    if (std::isnan(a[i]) || std::isnan(b[i])) return INFINITY;
  }
  return most;
}

std::vector<float> once(const TokenModel& model, const std::vector<std::int32_t>& ids,
                        const TokenRunnerOptions& options = exact(), std::int64_t position = 0) {
  const auto runner = model.create(options);
  feed(*runner, model, ids, position);
  return logits_of(*runner);
}

float from_half(std::uint16_t bits) {
  const int exponent = bits >> 10U & 31;
  const int mantissa = bits & 1023;
  const double value = exponent == 0 ? std::ldexp(mantissa, -24)
                                     : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>((bits & 0x8000U) != 0 ? -value : value);
}

}  // namespace

TEST(a_model_says_its_sizes) {
  support::need(kLibrary);
  const auto model = open();
  CHECK_EQ(model->vocab_size(), 64);
  CHECK_EQ(model->width(), 64);
}

TEST(embedding_rows_are_those_of_the_file) {
  support::need(kLibrary);
  const auto model = open();
  const std::vector<float> rows = rows_of(*model, {0, 63, 5});
  const int ids[] = {0, 63, 5};
  for (int r = 0; r < 3; ++r) {
    for (int i = 0; i < 64; ++i) {
      const int at = ids[r] * 64 + i;
      CHECK_EQ(rows[static_cast<std::size_t>(r * 64 + i)],
               static_cast<float>(at * 37 % 256 - 128) / 128.0F);
    }
  }
}

TEST(packed_embedding_rows_are_unpacked) {
  support::need(kLibrary);
  CHECK(rows_of(*open("decoder_f16.gguf"), {7, 8}) == rows_of(*open(), {7, 8}));
  const auto model = open("decoder_q8_0.gguf");
  const std::string bytes = support::read_file(support::data("decoder_q8_0.gguf"));
  const gguf::File file = gguf::read(std::as_bytes(std::span(bytes)), "decoder_q8_0.gguf");
  const std::int32_t id = 41;
  const std::vector<float> row = rows_of(*model, {id});
  const char* at = bytes.data() + file.tensor("token_embd.weight")->offset + id * 68;
  for (std::size_t i = 0; i < 64; ++i) {  // blocks of a half-precision scale and 32 bytes
    const char* block = at + i / 32 * 34;
    std::uint16_t scale = 0;
    std::memcpy(&scale, block, 2);
    CHECK_EQ(row[i], from_half(scale) * static_cast<float>(static_cast<signed char>(
                                            block[2 + i % 32])));
  }
}

TEST(ids_outside_the_vocabulary_are_refused) {
  support::need(kLibrary);
  const auto model = open();
  CHECK_THROWS_MSG(InputError, "from 0 to 63, got 64", rows_of(*model, {1, 64}));
  CHECK_THROWS_MSG(InputError, "got -1", rows_of(*model, {-1}));
  std::vector<float> small(3);
  const std::int32_t ids[] = {1};
  CHECK_THROWS_MSG(InputError, "room for 1 rows of 64", model->embed(ids, small));
  char bytes[8];
  CHECK_THROWS_MSG(InputError, "got 64", model->piece(64, bytes));
}

TEST(text_goes_to_ids_and_back) {
  support::need(kLibrary);
  const auto model = open();
  for (const std::string text : {"hello the world, on", "the\nthe", "caf\xC3\xA9", ""}) {
    std::string back;
    for (std::int32_t id : model->tokenize(text, false)) {
      char bytes[32];
      back.append(bytes, model->piece(id, bytes));
    }
    CHECK_EQ(back, text);
  }
  CHECK(model->tokenize("a the", false).size() == 2U);  // " the" is one piece
  char none[1];
  const auto the = model->tokenize("the", false);
  CHECK_THROWS_MSG(InputError, "room for 3 bytes", model->piece(the.at(0), none));
}

TEST(special_names_are_ids_only_where_asked) {
  support::need(kLibrary);
  const auto model = open();
  const std::string names = "<|end|>a<|a_1|><|a_0|>";
  const auto special = model->tokenize(names, true);
  REQUIRE(special.size() == 4U);
  char bytes[32];
  CHECK_EQ(model->piece(special[0], bytes), 0U);  // a control id has no text
  CHECK_EQ(model->piece(special[1], bytes), 1U);
  std::string plain;
  const auto ids = model->tokenize(names, false);
  for (std::int32_t id : ids) {
    CHECK(std::find(special.begin(), special.end(), id) == special.end() || id == special[1]);
    plain.append(bytes, model->piece(id, bytes));
  }
  // The letters and signs of the names, but for digits, which this vocabulary lacks.
  CHECK_EQ(plain, "<|end|>a<|a_|><|a_|>");
}

TEST(odd_text_gives_ids_or_one_error) {
  support::need(kLibrary);
  const auto model = open();
  for (const std::string text : {"\xC3", "\xFF\xFE", "\xF0\x9F\x98", "\xED\xA0\x80"}) {
    try {
      for (std::int32_t id : model->tokenize("a" + text + "b", false)) CHECK(id >= 0 && id < 64);
    } catch (const InputError&) {
    }
  }
  const auto zero = model->tokenize(std::string("a\0b", 3), true);
  CHECK(zero.size() >= 2U);
}

TEST(feeding_in_parts_gives_the_logits_of_feeding_at_once) {
  support::need(kLibrary);
  const auto model = open();
  const auto ids = some_ids(40);
  const std::vector<float> whole = once(*model, ids);
  CHECK_EQ(whole.size(), 64U);
  CHECK(distance(once(*model, ids, exact(7)), whole) < kOrderTolerance);  // passes of n_batch
  for (std::size_t cut : {1U, 13U, 39U}) {
    const auto runner = model->create(exact());
    feed(*runner, *model, {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(cut)}, 0);
    feed(*runner, *model, {ids.begin() + static_cast<std::ptrdiff_t>(cut), ids.end()},
         static_cast<std::int64_t>(cut));
    CHECK(distance(runner->logits(), whole) < kOrderTolerance);
  }
  const auto runner = model->create(exact());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    runner->feed(rows_of(*model, {ids[i]}), static_cast<std::int64_t>(i), i + 1 == ids.size(),
                 StopFlag());
  }
  CHECK(distance(runner->logits(), whole) < kOrderTolerance);
  CHECK(distance(once(*model, some_ids(40, 1)), whole) > 0.1);  // and other ids give others
}

TEST(other_cache_types_stay_close) {
  support::need(kLibrary);
  const auto model = open();
  const auto ids = some_ids(40);
  const std::vector<float> want = once(*model, ids);
  TokenRunnerOptions options = exact();
  options.kv_f32 = false;
  CHECK(distance(once(*model, ids, options), want) < kHalfTolerance);
  options.kv_q8_0 = true;
  const double error = distance(once(*model, ids, options), want);
  CHECK(error < kByteTolerance);
  CHECK(error > 0.0);
  options.kv_f32 = true;
  CHECK_THROWS_MSG(InputError, "kv_q8_0 and kv_f32", model->create(options));
}

TEST(logits_need_a_feed_that_wants_them) {
  support::need(kLibrary);
  const auto model = open();
  const auto runner = model->create(exact());
  CHECK_THROWS_MSG(InputError, "wanted logits", runner->logits());
  runner->feed(rows_of(*model, {1, 2}), 0, false, StopFlag());
  CHECK_THROWS_MSG(InputError, "wanted logits", runner->logits());
  feed(*runner, *model, {3}, 2);
  CHECK(distance(runner->logits(), once(*model, {1, 2, 3})) < kOrderTolerance);
}

TEST(erasing_the_end_rolls_back) {
  support::need(kLibrary);
  const auto model = open();
  const auto runner = model->create(exact());
  const auto ids = some_ids(20);
  feed(*runner, *model, ids, 0);
  feed(*runner, *model, some_ids(9, 5), 20);
  runner->erase(20, -1);
  feed(*runner, *model, {4}, 20);
  auto all = ids;
  all.push_back(4);
  CHECK(distance(runner->logits(), once(*model, all)) < kOrderTolerance);
  runner->erase(0, -1);  // everything: as new
  feed(*runner, *model, ids, 0);
  CHECK(distance(runner->logits(), once(*model, ids)) < kOrderTolerance);
  runner->erase(50, 60);  // nothing there
}

// With one layer, what is left of a cache does not depend on what was erased: the logits are those
// of a cache that never held it, at the same positions.
TEST(erasing_the_middle_forgets_it_and_shifting_closes_the_gap) {
  support::need(kLibrary);
  const auto model = open();
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
  CHECK(distance(runner->logits(), want) < kOrderTolerance);

  feed(*gap, *model, prompt, 0);
  feed(*gap, *model, middle, 10);
  feed(*gap, *model, recent, 18);
  gap->erase(10, 18);
  feed(*gap, *model, {9}, 30);
  CHECK(distance(gap->logits(), want) > 1e-3);  // the gap is seen through the rotations
}

TEST(positions_move_to_the_end_and_back) {
  support::need(kLibrary);
  const auto model = open();
  const auto ids = some_ids(10);
  const std::vector<float> want = once(*model, {ids});
  const auto runner = model->create(exact());
  feed(*runner, *model, {ids.begin(), ids.end() - 1}, 0);
  runner->shift(0, -1, 1000);
  runner->shift(1000, 1009, -1000);
  feed(*runner, *model, {ids.back()}, 9);
  CHECK(distance(runner->logits(), want) < kOrderTolerance);
  // Rotations are relative: the same rows further on give the same logits.
  CHECK(distance(once(*model, ids, exact(), 500), want) < 10 * kOrderTolerance);
}

TEST(positions_that_cannot_be_are_refused) {
  support::need(kLibrary);
  const auto model = open();
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
  CHECK(distance(runner->logits(), once(*model, {1, 2, 3, 4})) < kOrderTolerance);
}

TEST(a_full_cache_names_its_cells_and_stays_as_it_was) {
  support::need(kLibrary);
  const auto model = open();
  const auto runner = model->create(exact(16, 40));
  const auto ids = some_ids(39);
  feed(*runner, *model, ids, 0);
  CHECK_THROWS_MSG(ContextError, "at most 40 occupied KV cells, got 39 occupied and 2 more",
                   feed(*runner, *model, {1, 2}, 39));
  feed(*runner, *model, {1}, 39);
  auto all = ids;
  all.push_back(1);
  CHECK(distance(runner->logits(), once(*model, all)) < kOrderTolerance);
  CHECK_THROWS_MSG(ContextError, "got 40 occupied and 1 more", feed(*runner, *model, {1}, 40));
  // Positions may grow beyond the cells as long as the occupied ones do not.
  for (std::int64_t chunk = 0; chunk < 30; ++chunk) {
    runner->erase(10 + chunk * 5, 15 + chunk * 5);
    feed(*runner, *model, some_ids(5, static_cast<std::int32_t>(chunk)), 40 + chunk * 5);
  }
  CHECK(distance(runner->logits(), runner->logits()) == 0.0);
}

TEST(a_cancelled_feed_leaves_the_cache_as_it_was) {
  support::need(kLibrary);
  const auto model = open();
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
  CHECK(distance(runner->logits(), once(*model, {1, 2, 3, 4})) < kOrderTolerance);
}

TEST(runners_of_one_model_work_on_threads_of_their_own) {
  support::need(kLibrary);
  const auto model = open();
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
        const bool good = distance(runner->logits(), want[std::size_t(w)]) < kOrderTolerance;
        if (!good || model->tokenize("the<|end|>", true).size() != 2) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST(a_runner_keeps_its_model) {
  support::need(kLibrary);
  auto model = open();
  const auto rows = rows_of(*model, {1, 2});
  const auto runner = model->create(exact());
  model.reset();
  runner->feed(rows, 0, true, StopFlag());
  CHECK_EQ(runner->logits().size(), 64U);
}

TEST(options_out_of_range_are_refused) {
  support::need(kLibrary);
  const auto model = open();
  CHECK_THROWS_MSG(InputError, "KV cells, got 0", model->create(exact(8, 0)));
  CHECK_THROWS_MSG(InputError, "KV cells, got -5", model->create(exact(8, -5)));
  CHECK_THROWS_MSG(InputError, "n_batch", model->create(exact(0)));
}

TEST(damaged_models_are_bundle_errors) {
  support::need(kLibrary);
  const ScratchFolder folder;
  const std::string good = support::read_file(support::data("decoder_f32.gguf"));
  const auto try_open = [&folder](const std::string& bytes) {
    folder.write("bad.gguf", bytes);
    open_token_model("", folder.path() / "bad.gguf");
  };
  try_open(good);
  CHECK_THROWS_MSG(BundleError, "bad.gguf", try_open(good.substr(0, good.size() - 40)));
  CHECK_THROWS_MSG(BundleError, "bad.gguf", try_open(""));
  std::string renamed = good;
  renamed[renamed.find("blk.0.attn_q.weight")] = 'x';  // well formed, but llama.cpp misses it
  CHECK_THROWS_MSG(BundleError, "blk.0.attn_q.weight", try_open(renamed));
  std::string tokenizer = good;
  tokenizer.replace(tokenizer.find("qwen2", tokenizer.find("tokenizer.ggml.pre")), 5, "other");
  CHECK_THROWS_MSG(BundleError, "[llama.open]", try_open(tokenizer));
  CHECK_THROWS_MSG(BundleError, "none.gguf", open_token_model("", folder.path() / "none.gguf"));
}

TEST(a_gpu_that_the_library_lacks_is_a_library_error) {
  support::need(kLibrary);
  if (llama_has_gpu("")) throw check::Skip{"this llama.cpp was built for a GPU"};
  CHECK_THROWS_MSG(LibraryError, "GGML_CUDA=on",
                   open_token_model("", support::data("decoder_f32.gguf"), {.device = "cuda"}));
  CHECK_THROWS_MSG(InputError, "got 'npu'",
                   open_token_model("", support::data("decoder_f32.gguf"), {.device = "npu"}));
}

TEST(other_libraries_are_refused) {
  CHECK_THROWS_MSG(LibraryError, "/nowhere/libllama.so", llama_version_of("/nowhere/libllama.so"));
  const std::string old = support::stub("stub_llama_old");
  CHECK_THROWS_MSG(LibraryError, "expected llama.cpp 0.5.0-dev", llama_version_of(old));
  CHECK_THROWS_MSG(LibraryError, "got 0.4.9 with ggml 0.24.0", llama_version_of(old));
  CHECK_THROWS_MSG(LibraryError, "pip install llama-cpp-python==0.3.36", llama_version_of(old));
  CHECK_THROWS_MSG(LibraryError, "a library without llama_version",
                   llama_version_of(support::stub("stub_onnxruntime_old")));
  CHECK_THROWS_MSG(LibraryError, "the structs",
                   llama_version_of(support::stub("stub_llama_structs")));
}

TEST(the_version_is_told) {
  support::need(kLibrary);
  CHECK_EQ(llama_version_of(""), "0.5.0-dev");
}
