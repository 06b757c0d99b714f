// One llama.cpp context, whose cells several sequences share; knows no row and no position.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "runners/llama/token_model.h"

namespace parley::llama {

llama_context_params context_params(const Model& model, const TokenRunnerOptions& options);

// A conversation and its forks, each a sequence of its own. What they have in common is held once,
// in the same cells. llama.cpp works for one of them at a time: hold `mutex` around every call.
class Cache {
 public:
  static constexpr std::int32_t kSequences = 4;  // a conversation and three forks

  Cache(std::shared_ptr<const Model> model, const TokenRunnerOptions& options);

  const Model& model() const { return *model_; }
  const TokenRunnerOptions& options() const { return options_; }
  llama_context* context() const { return context_.get(); }
  llama_memory_t memory() const { return memory_; }

  // Throws ContextError where all are taken. Both need the mutex.
  llama_seq_id take_sequence();
  void give_back(llama_seq_id sequence);
  bool is_shared() const { return n_taken_ > 1; }

  std::mutex mutex;
  const StopFlag* stop = nullptr;  // of the feed under way; the abort callback reads it

 private:
  std::shared_ptr<const Model> model_;
  TokenRunnerOptions options_;
  std::unique_ptr<llama_context, void (*)(llama_context*)> context_;
  llama_memory_t memory_ = nullptr;  // owned by context_
  std::vector<bool> taken_;          // by sequence
  std::atomic<int> n_taken_{0};
};

}  // namespace parley::llama
