// Graphs and a token model whose outputs follow formulas, so that stage tests need no library.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parley/errors.hpp"
#include "runners/runner.h"

namespace fake {

using parley::DType;
using parley::Shape;
using parley::StopFlag;
using parley::TensorSpec;
using parley::TensorView;

inline const float* floats(const TensorView& tensor) {
  return static_cast<const float*>(tensor.data);
}
inline float* floats_out(const TensorView& tensor) {
  return static_cast<float*>(tensor.data);
}
inline const std::int64_t* ints(const TensorView& tensor) {
  return static_cast<const std::int64_t*>(tensor.data);
}
inline std::int64_t* ints_out(const TensorView& tensor) {
  return static_cast<std::int64_t*>(tensor.data);
}

using Tensors = std::span<const TensorView>;
using Formula = std::function<void(Tensors inputs, Tensors outputs)>;

// Checks counts, types and shapes as a real runner does, then applies the formula.
class Graph final : public parley::GraphRunner {
 public:
  Graph(std::vector<TensorSpec> inputs, std::vector<TensorSpec> outputs, Formula formula)
      : inputs_(std::move(inputs)), outputs_(std::move(outputs)), formula_(std::move(formula)) {}

  const std::vector<TensorSpec>& inputs() const override { return inputs_; }
  const std::vector<TensorSpec>& outputs() const override { return outputs_; }

  void run(Tensors inputs, Tensors outputs, const StopFlag& stop) const override {
    if (!ignores_stop) stop.check();
    check(inputs_, inputs, false);
    check(outputs_, outputs, true);
    const int number = runs_.fetch_add(1) + 1;
    largest = std::max(largest, inputs[0].shape.count());
    total += inputs[0].shape.count();
    if (number == stop_at && to_stop != nullptr) to_stop->set();
    if (number == fail_at) throw parley::Error("[fake.run] expected nothing, got a failure");
    formula_(inputs, outputs);
    if (!spoil) return;
    for (const TensorView& output : outputs) {
      if (output.data == nullptr || output.type != DType::f32) continue;
      std::fill_n(floats_out(output), output.shape.count(), std::nanf(""));
    }
  }

  int runs() const { return runs_.load(); }

  // Switches for tests; counted in runs, the first is 1.
  mutable int stop_at = 0;
  mutable StopFlag* to_stop = nullptr;
  mutable int fail_at = 0;
  mutable bool ignores_stop = false;
  mutable bool spoil = false;        // outputs are no numbers
  mutable std::int64_t largest = 0;  // element count of the largest first input
  mutable std::int64_t total = 0;    // of all first inputs

 private:
  static void check(const std::vector<TensorSpec>& specs, Tensors views, bool may_lack) {
    bool good = specs.size() == views.size();
    for (std::size_t i = 0; good && i < specs.size(); ++i) {
      if (may_lack && views[i].data == nullptr) continue;
      good = specs[i].type == views[i].type &&
             specs[i].shape.size() == static_cast<std::size_t>(views[i].shape.rank);
      for (int d = 0; good && d < views[i].shape.rank; ++d) {
        const std::int64_t size = specs[i].shape[static_cast<std::size_t>(d)];
        good = size < 0 || size == views[i].shape[d];
      }
      if (!good) throw parley::InputError("[fake.run] expected another tensor " + specs[i].name);
    }
    if (!good) throw parley::InputError("[fake.run] expected another number of tensors");
  }

  std::vector<TensorSpec> inputs_;
  std::vector<TensorSpec> outputs_;
  Formula formula_;
  mutable std::atomic<int> runs_{0};
};

// Encoder, segment form: feature r is mel value r and the column's number. `frames` of -1: any.
inline std::shared_ptr<Graph> encoder_segment(std::int64_t mels, std::int64_t frames,
                                              std::int64_t features, std::int64_t width) {
  const std::int64_t encoded = frames < 0 ? -1 : frames / 2;
  return std::make_shared<Graph>(
      std::vector<TensorSpec>{{"log_mel", DType::f32, {1, mels, frames}}},
      std::vector<TensorSpec>{{"encoded", DType::f32, {1, encoded, 3}},
                              {"features", DType::f32, {1, features, width}}},
      [=](Tensors in, Tensors out) {
        const float* mel = floats(in[0]);
        if (out[0].data != nullptr) {
          for (std::int64_t i = 0; i < out[0].shape.count(); ++i)
            floats_out(out[0])[i] = 2 * mel[i];
        }
        for (std::int64_t r = 0; r < out[1].shape.dims[1]; ++r) {
          for (std::int64_t c = 0; c < width; ++c) {
            floats_out(out[1])[r * width + c] = mel[r] + static_cast<float>(c);
          }
        }
      });
}

// Encoder, chunk form, with an f32 state (a leaky sum of the mel values) and an i64 counter.
inline std::shared_ptr<Graph> encoder_chunk(std::int64_t mels, std::int64_t frames,
                                            std::int64_t width) {
  return std::make_shared<Graph>(std::vector<TensorSpec>{{"state_in.sum", DType::f32, {1, mels}},
                                                         {"log_mel", DType::f32, {1, mels, frames}},
                                                         {"state_in.count", DType::i64, {1}}},
                                 std::vector<TensorSpec>{{"features", DType::f32, {1, 1, width}},
                                                         {"state_out.count", DType::i64, {1}},
                                                         {"state_out.sum", DType::f32, {1, mels}}},
                                 [=](Tensors in, Tensors out) {
                                   float total = 0;
                                   for (std::int64_t m = 0; m < mels; ++m) {
                                     float sum = 0.5F * floats(in[0])[m];
                                     for (std::int64_t f = 0; f < frames; ++f)
                                       sum += floats(in[1])[m * frames + f];
                                     floats_out(out[2])[m] = sum;
                                     total += sum;
                                   }
                                   *ints_out(out[1]) = *ints(in[2]) + 1;
                                   for (std::int64_t c = 0; c < width; ++c) {
                                     floats_out(out[0])[c] =
                                         total + static_cast<float>(c + 10 * *ints(in[2]));
                                   }
                                 });
}

// Vocoder: a sample sees `left` latent frames before its own and `right` behind it, as far as they
// are in the range of the reply; samples come `right` frames late.
inline std::shared_ptr<Graph> vocoder(std::int64_t z, std::int64_t samples, std::int64_t left,
                                      std::int64_t right) {
  const std::int64_t held = left + right;
  return std::make_shared<Graph>(
      std::vector<TensorSpec>{{"latents", DType::f32, {1, z, -1}},
                              {"range", DType::i64, {2}},
                              {"kept", DType::i64, {1}},
                              {"state_in.history", DType::f32, {held * z}}},
      std::vector<TensorSpec>{{"state_out.history", DType::f32, {held * z}},
                              {"wave", DType::f32, {1, 1, -1}}},
      [=](Tensors in, Tensors out) {
        const std::int64_t frames = in[0].shape[2];
        const auto value = [&](std::int64_t t, std::int64_t c) {
          return t < 0 ? floats(in[3])[(t + held) * z + c] : floats(in[0])[c * frames + t];
        };
        for (std::int64_t t = 0; t < frames; ++t) {
          float sum = 0;
          for (std::int64_t k = -left; k <= right; ++k) {
            const std::int64_t at = t - right + k;
            if (at < ints(in[1])[0] || at >= ints(in[1])[1]) continue;
            for (std::int64_t c = 0; c < z; ++c) {
              sum += value(at, c) * static_cast<float>(c + 1) / static_cast<float>(k + left + 1);
            }
          }
          for (std::int64_t s = 0; s < samples; ++s) {
            floats_out(out[1])[t * samples + s] = sum + static_cast<float>(s);
          }
        }
        if (out[0].data == nullptr) return;
        for (std::int64_t t = 0; t < held; ++t)
          for (std::int64_t c = 0; c < z; ++c)
            floats_out(out[0])[t * z + c] = value(*ints(in[2]) - held + t, c);
      });
}

// One position of a fake cache: its digest stands for keys and values.
struct Cell {
  std::int64_t position = 0;
  double digest = 0;
};

// What a fake cache was asked to do, for tests that look at it from outside.
struct TokenLog {
  std::vector<Cell> cells;
  int feeds = 0;
  std::int64_t largest_feed = 0;
};

// Logits are a function of every cell (position and row), so two caches that differ anywhere give
// different logits.
class Tokens final : public parley::TokenRunner {
 public:
  Tokens(std::int32_t vocab, std::int32_t width, parley::TokenRunnerOptions options,
         std::shared_ptr<TokenLog> log)
      : width_(static_cast<std::size_t>(width)),
        options_(options),
        logits_(static_cast<std::size_t>(vocab)),
        log_(std::move(log)) {
    log_->cells.reserve(static_cast<std::size_t>(options.n_cells));
  }

  void feed(std::span<const float> rows, std::int64_t position, bool want_logits,
            const StopFlag& stop) override {
    ++log_->feeds;
    const auto n = static_cast<std::int64_t>(rows.size() / width_);
    log_->largest_feed = std::max(log_->largest_feed, n);
    for (std::int64_t i = 0; i < n; ++i) {
      stop.check();
      double digest = 0;
      for (std::size_t c = 0; c < width_; ++c) {
        digest =
            digest * 1.25 + static_cast<double>(rows[static_cast<std::size_t>(i) * width_ + c]);
      }
      if (log_->cells.size() >= static_cast<std::size_t>(options_.n_cells)) {
        throw parley::ContextError("[fake.feed] expected a free cell, got none");
      }
      log_->cells.push_back({position + i, digest});
      if (log_->feeds == stop_at && to_stop != nullptr) to_stop->set();
    }
    std::fill(logits_.begin(), logits_.end(), -1e9F);  // whoever reads old ones shall notice
    if (!want_logits) return;
    double sum = 0;
    for (const Cell& cell : log_->cells) {
      sum += cell.digest * std::cos(static_cast<double>(cell.position));
    }
    for (std::size_t v = 0; v < logits_.size(); ++v) {
      logits_[v] = static_cast<float>(std::sin(sum + static_cast<double>(v)));
    }
  }

  std::span<const float> logits() const override { return logits_; }

  void erase(std::int64_t begin, std::int64_t end) override {
    std::erase_if(log_->cells, [&](const Cell& cell) {
      return cell.position >= begin && (end < 0 || cell.position < end);
    });
  }

  void shift(std::int64_t begin, std::int64_t end, std::int64_t by) override {
    for (Cell& cell : log_->cells) {
      if (cell.position >= begin && (end < 0 || cell.position < end)) cell.position += by;
    }
  }

  std::unique_ptr<parley::TokenRunner> fork() override {
    auto log = std::make_shared<TokenLog>();
    auto copy = std::make_unique<Tokens>(static_cast<std::int32_t>(logits_.size()),
                                         static_cast<std::int32_t>(width_), options_, log);
    log->cells.insert(log->cells.end(), log_->cells.begin(), log_->cells.end());
    std::fill(logits_.begin(), logits_.end(), -1e9F);
    return copy;
  }
  bool is_shared() const override { return false; }
  void save(parley::ByteWriter& to) override {
    to.put_all(std::span<const Cell>(log_->cells));
    std::fill(logits_.begin(), logits_.end(), -1e9F);  // as a pass that saving may need
  }
  void load(parley::ByteReader& from) override {
    const auto cells = from.get_some<Cell>(static_cast<std::size_t>(options_.n_cells));
    log_->cells.assign(cells.begin(), cells.end());
    std::fill(logits_.begin(), logits_.end(), -1e9F);
  }

  int stop_at = 0;  // the feed that sets the flag after its first row
  StopFlag* to_stop = nullptr;

 private:
  std::size_t width_;
  parley::TokenRunnerOptions options_;
  std::vector<float> logits_;
  std::shared_ptr<TokenLog> log_;
};

class TokenModel final : public parley::TokenModel {
 public:
  TokenModel(std::int32_t vocab, std::int32_t width) : vocab_(vocab), width_(width) {}

  std::int32_t vocab_size() const override { return vocab_; }
  std::int32_t width() const override { return width_; }

  std::unique_ptr<parley::TokenRunner> create(
      const parley::TokenRunnerOptions& options) const override {
    log = std::make_shared<TokenLog>();
    auto runner = std::make_unique<Tokens>(vocab_, width_, options, log);
    last = runner.get();
    return runner;
  }

  void embed(std::span<const std::int32_t> ids, std::span<float> rows) const override {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 || ids[i] >= vocab_) {
        throw parley::InputError("[fake.embed] expected a known id, got another");
      }
      for (std::int32_t c = 0; c < width_; ++c) {
        rows[i * static_cast<std::size_t>(width_) + static_cast<std::size_t>(c)] =
            std::cos(static_cast<float>(ids[i] * (c + 3)));
      }
    }
  }

  // Text is its bytes.
  std::vector<std::int32_t> tokenize(std::string_view text, bool) const override {
    std::vector<std::int32_t> ids;
    for (char byte : text) ids.push_back(static_cast<unsigned char>(byte) % vocab_);
    return ids;
  }

  std::size_t piece(std::int32_t id, std::span<char> bytes) const override {
    if (id < 0 || id > 127 || bytes.empty()) return 0;
    bytes[0] = static_cast<char>(id);
    return 1;
  }

  // Of the runner that was created last; `last` is valid as long as its state.
  mutable std::shared_ptr<TokenLog> log;
  mutable Tokens* last = nullptr;

 private:
  std::int32_t vocab_;
  std::int32_t width_;
};

}  // namespace fake
