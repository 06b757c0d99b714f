// What the tests of the llama.cpp runner share; knows no library but through the runner.
#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "runner_support.h"
#include "runners/llama/model.h"

namespace support {

using namespace parley;

constexpr const char* kLlama = "PARLEY_LLAMA";

inline std::shared_ptr<const TokenModel> open_decoder(const char* name = "decoder_f32.gguf") {
  return open_token_model("", support::data(name));
}

inline TokenRunnerOptions exact(std::int32_t n_batch = 512, std::int32_t n_cells = 256) {
  TokenRunnerOptions options;
  options.n_cells = n_cells;
  options.n_batch = n_batch;
  options.threads = 1;
  options.kv_f32 = true;
  return options;
}

inline std::vector<float> rows_of(const TokenModel& model, const std::vector<std::int32_t>& ids) {
  std::vector<float> rows(ids.size() * static_cast<std::size_t>(model.width()));
  model.embed(ids, rows);
  return rows;
}

// n ids that repeat late.
inline std::vector<std::int32_t> some_ids(std::size_t n, std::int32_t seed = 0) {
  std::vector<std::int32_t> ids(n);
  for (std::size_t i = 0; i < n; ++i) {
    ids[i] = static_cast<std::int32_t>((static_cast<std::int32_t>(i * i + 3 * i) + seed) % 61);
  }
  return ids;
}

inline void feed(TokenRunner& runner, const TokenModel& model, const std::vector<std::int32_t>& ids,
                 std::int64_t position) {
  runner.feed(rows_of(model, ids), position, true, StopFlag());
}

inline std::vector<float> logits_of(const TokenRunner& runner) {
  return {runner.logits().begin(), runner.logits().end()};
}

inline double distance(std::span<const float> a, std::span<const float> b) {
  double most = a.size() == b.size() ? 0.0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    if (std::isnan(a[i]) || std::isnan(b[i])) return INFINITY;
  }
  return most;
}

inline std::vector<float> once(const TokenModel& model, const std::vector<std::int32_t>& ids,
                               const TokenRunnerOptions& options = exact(),
                               std::int64_t position = 0) {
  const auto runner = model.create(options);
  feed(*runner, model, ids, position);
  return logits_of(*runner);
}

}  // namespace support
