// One sequence in a llama.cpp context: feeding, forgetting and moving positions; knows no text.
#pragma once
#include <memory>
#include <vector>

#include "runners/llama/cache.h"
#include "runners/llama/spans.h"

namespace parley::llama {

class Runner final : public TokenRunner {
 public:
  Runner(std::shared_ptr<const Model> model, const TokenRunnerOptions& options);
  ~Runner() override;

  void feed(std::span<const float> rows, std::int64_t position, bool want_logits,
            const StopFlag& stop) override;
  std::span<const float> logits() const override;
  void erase(std::int64_t begin, std::int64_t end) override;
  void shift(std::int64_t begin, std::int64_t end, std::int64_t by) override;
  void save(ByteWriter& to) override;
  void load(ByteReader& from) override;
  std::unique_ptr<TokenRunner> fork() override;
  bool is_shared() const override { return cache_->is_shared(); }

 private:
  explicit Runner(std::shared_ptr<Cache> cache);
  std::int64_t check_feed(std::span<const float> rows, std::int64_t position) const;
  bool take_logits();
  void keep_logits();
  std::int32_t decode(const float* rows, std::int64_t position, std::int64_t n, bool want_logits);
  void apply_shifts();
  [[noreturn]] void undo(std::int64_t position, std::int32_t code, const StopFlag& stop);

  std::shared_ptr<Cache> cache_;
  const Model& model_;
  const Functions& f_;
  const TokenRunnerOptions& options_;
  PositionSpans held_;
  bool shifted_ = false;           // since the last pass, which is what moves keys in the cache
  const float* logits_ = nullptr;  // the context's, or own_logits_ where another sequence may feed
  std::vector<float> own_logits_;
  // One pass of a prefill.
  std::vector<llama_pos> positions_;
  std::vector<std::int32_t> n_sequences_;
  std::vector<llama_seq_id*> sequences_;
  std::vector<std::int8_t> wanted_;
  llama_seq_id sequence_ = 0;  // of the cache
};

}  // namespace parley::llama
