// llama.cpp's own loop, as its programs run it: ids in, logits out; the yardstick of our stage.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "runners/runner.h"

namespace parley {

// One token per pass over a cache of its own; no embedding rows, no rollback, no sampling.
class PlainLoop {
 public:
  virtual ~PlainLoop() = default;
  // Reads ids behind those read before; `[vocab_size]` logits of the last one.
  virtual std::span<const float> decode(std::span<const std::int32_t> ids) = 0;
};

// Throws InputError for a model that is not llama.cpp's.
std::unique_ptr<PlainLoop> make_plain_loop(std::shared_ptr<const TokenModel> model,
                                           const TokenRunnerOptions& options);

}  // namespace parley
