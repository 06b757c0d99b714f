// The backbone stage beside llama.cpp's own loop, and its window, to be timed; knows no bundle.
#include "bench/backbone_bench.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <random>
#include <utility>

#include "runners/llama/model.h"

namespace parley {

namespace {

constexpr std::size_t kMaxIds = 8192;
constexpr std::size_t kDrawnLogits = 1 << 19;

class Watch {
 public:
  Spent spent() const {
    const std::chrono::duration<double, std::milli> wall = std::chrono::steady_clock::now() - wall_;
    return {wall.count(), 1e3 * static_cast<double>(std::clock() - cpu_) / CLOCKS_PER_SEC};
  }

 private:
  std::chrono::steady_clock::time_point wall_ = std::chrono::steady_clock::now();
  std::clock_t cpu_ = std::clock();
};

// As the bundles of the published weights draw.
SamplingConfig sampling() {
  return {.temperature = 0.5F,
          .top_k = 50,
          .top_p = 0.9F,
          .repetition_penalty = 1.05F,
          .recent_penalty = 1.05F,
          .recent_window = 8};
}

TokenRunnerOptions runner_options(const BackboneBenchOptions& options) {
  TokenRunnerOptions runner;
  runner.n_cells = static_cast<std::int32_t>(options.n_cells);
  runner.threads = options.threads;
  runner.kv_q8_0 = options.kv == "q8_0";
  runner.kv_f32 = options.kv == "f32";
  return runner;
}

}  // namespace

BackboneBench::BackboneBench(const std::string& gguf, const BackboneBenchOptions& options)
    : model_(open_token_model(options.llama, gguf,
                              {.device = options.device, .kv_q8_0 = options.kv == "q8_0"})),
      options_(runner_options(options)),
      backbone_(backbone(options.n_cells)),
      state_(backbone_->create_state()),
      plain_(make_plain_loop(model_, options_)),
      sampler_(backbone_->vocab_size(), kMaxIds, 0) {
  sampler_.begin_turn(sampling(), {});
}

std::unique_ptr<Backbone> BackboneBench::backbone(std::int64_t n_cells) const {
  TokenRunnerOptions options = options_;
  options.n_cells = static_cast<std::int32_t>(n_cells);
  return make_token_backbone(model_, options);
}

std::span<const float> BackboneBench::read(std::span<const float> rows) {
  std::vector<Position> positions(rows.size() / backbone_->width());
  for (std::size_t i = 0; i < positions.size(); ++i)
    positions[i].feature = rows.data() + i * backbone_->width();
  backbone_->feed(*state_, positions, true, never_);
  state_->commit();
  return backbone_->logits(*state_);
}

Spent BackboneBench::ours(std::span<const std::int32_t> ids, IdRange slot) {
  const Slot slots = {slot};
  const Watch watch;
  for (std::int32_t id : ids) {
    const Position position{id, nullptr};
    backbone_->feed(*state_, {&position, 1}, true, never_);
    sampler_.accept(sampler_.pick(backbone_->logits(*state_), slots));
    state_->commit();
  }
  return watch.spent();
}

Spent BackboneBench::plain(std::span<const std::int32_t> ids) {
  const Watch watch;
  for (const std::int32_t& id : ids) plain_->decode({&id, 1});
  return watch.spent();
}

Spent BackboneBench::embed(std::span<const std::int32_t> ids) {
  std::vector<float> row(backbone_->width());
  const Watch watch;
  for (const std::int32_t& id : ids) model_->embed({&id, 1}, row);
  return watch.spent();
}

Spent BackboneBench::draws(std::int32_t vocab_size, IdRange slot, int n) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, 3.0F);
  const auto size = static_cast<std::size_t>(vocab_size);
  // A processor learns a row by heart, so the next draw takes another one.
  const std::size_t n_rows = std::max<std::size_t>(8, kDrawnLogits / size);
  std::vector<float> logits(n_rows * size);
  for (float& logit : logits) logit = normal(random);
  Sampler sampler(size, kMaxIds, 0);
  sampler.begin_turn(sampling(), {});
  const Slot slots = {slot};
  const Watch watch;
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
    sampler.accept(sampler.pick(std::span(logits).subspan(i % n_rows * size, size), slots));
  return watch.spent();
}

std::vector<BackboneBench::Chunk> BackboneBench::converse(const Window& shape,
                                                          std::span<const bool> pattern,
                                                          int n_chunks) {
  const auto stage = backbone(shape.prompt + shape.window + 64);
  const StatePtr state = stage->create_state();
  std::mt19937 random(1);
  const auto feed = [&](std::size_t n, bool want_logits) {
    std::vector<Position> positions(n);
    for (Position& p : positions)
      p.id = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocab_size()));
    stage->feed(*state, positions, want_logits, never_);
  };
  ChunkWindow window(shape.prompt, shape.window);
  // The window is full from the start, as if of chunks of four positions.
  const std::int64_t filled = shape.prompt + shape.window;
  for (std::int64_t at = shape.prompt; at < filled; at += 4) window.add_chunk(at);
  feed(static_cast<std::size_t>(filled), false);
  state->commit();
  std::vector<Chunk> chunks;
  for (int i = 0; i < n_chunks; ++i) {
    Chunk chunk;
    chunk.speaking = pattern[static_cast<std::size_t>(i) % pattern.size()];
    const std::int64_t before = stage->next_position(*state);
    const Watch watch;
    chunk.evicted = slide(window, *stage, *state, shape.context, !chunk.speaking) > 0;
    const std::int64_t start = stage->next_position(*state);
    chunk.rebased = start < before;
    feed(2, true);
    for (int pass = 1; chunk.speaking && pass < 5; ++pass) feed(1, true);
    state->commit();
    chunk.spent = watch.spent();
    window.add_chunk(start);
    chunks.push_back(chunk);
  }
  return chunks;
}

}  // namespace parley
