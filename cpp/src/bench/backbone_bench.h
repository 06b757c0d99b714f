// The backbone stage beside llama.cpp's own loop, and its window, to be timed; knows no bundle.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/stop.h"
#include "bench/plain_loop.h"
#include "session/think/sampler.h"
#include "session/think/window.h"
#include "stages/backbone.h"

namespace parley {

struct BackboneBenchOptions {
  std::string llama;  // path of libllama
  std::string device = "cpu";
  std::string kv = "f16";
  int threads = 1;
  std::int64_t n_cells = 1024;
};

// What a run took: as a clock on the wall sees it, and of the processor, which neighbours on the
// same machine disturb less.
struct Spent {
  double wall_ms = 0.0;
  double cpu_ms = 0.0;
};

// Not thread-safe; for measurements.
class BackboneBench {
 public:
  BackboneBench(const std::string& gguf, const BackboneBenchOptions& options);

  std::int32_t vocab_size() const { return model_->vocab_size(); }
  std::int32_t width() const { return model_->width(); }
  std::vector<std::int32_t> tokenize(std::string_view text, bool special) const {
    return model_->tokenize(text, special);
  }

  // Appends rows `[n, width]`; `[vocab_size]` logits of the last one, valid until the next call.
  std::span<const float> read(std::span<const float> rows);

  // Each id is one pass behind those before: ours is embedding, pass and a draw over `slot`
  // (top-k 50, top-p 0.9, penalties), committed; llama.cpp's is the pass alone.
  Spent ours(std::span<const std::int32_t> ids, IdRange slot);
  Spent plain(std::span<const std::int32_t> ids);
  Spent embed(std::span<const std::int32_t> ids);
  // n draws over `slot` of a vocabulary from random logits, other ones each time.
  static Spent draws(std::int32_t vocab_size, IdRange slot, int n);

  // A conversation under the window policy: a prompt, then chunks that listen (2 positions, 1 pass)
  // or speak (6 positions, 5 passes), `pattern[i % size]` saying which speak.
  struct Chunk {
    Spent spent;
    bool speaking = false;
    bool evicted = false;
    bool rebased = false;
  };
  struct Window {
    std::int64_t prompt = 0;
    std::int64_t window = 0;
    std::int64_t context = 0;
  };
  std::vector<Chunk> converse(const Window& shape, std::span<const bool> pattern, int n_chunks);

 private:
  std::unique_ptr<Backbone> backbone(std::int64_t n_cells) const;

  std::shared_ptr<const TokenModel> model_;
  TokenRunnerOptions options_;
  std::unique_ptr<Backbone> backbone_;
  StatePtr state_;
  std::unique_ptr<PlainLoop> plain_;
  Sampler sampler_;
  StopFlag never_;
};

}  // namespace parley
