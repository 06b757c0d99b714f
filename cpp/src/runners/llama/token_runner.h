// One sequence in a llama.cpp context: feeding, forgetting and moving positions; knows no text.
#pragma once
#include <memory>
#include <vector>

#include "runners/llama/spans.h"
#include "runners/llama/token_model.h"

namespace parley::llama {

llama_context_params context_params(const Model& model, const TokenRunnerOptions& options);

class Runner final : public TokenRunner {
 public:
  Runner(std::shared_ptr<const Model> model, const TokenRunnerOptions& options);

  void feed(std::span<const float> rows, std::int64_t position, bool want_logits,
            const StopFlag& stop) override;
  std::span<const float> logits() const override;
  void erase(std::int64_t begin, std::int64_t end) override;
  void shift(std::int64_t begin, std::int64_t end, std::int64_t by) override;
  void save(ByteWriter& to) override;
  void load(ByteReader& from) override;

 private:
  void make_context();
  std::int64_t check_feed(std::span<const float> rows, std::int64_t position) const;
  std::int32_t decode(const float* rows, std::int64_t position, std::int64_t n, bool want_logits);
  void apply_shifts();
  [[noreturn]] void undo(std::int64_t position, std::int32_t code, const StopFlag& stop);

  std::shared_ptr<const Model> model_;
  const Functions& f_;
  TokenRunnerOptions options_;
  std::unique_ptr<llama_context, void (*)(llama_context*)> context_;
  llama_memory_t memory_ = nullptr;  // owned by context_
  PositionSpans held_;
  bool shifted_ = false;            // since the last pass, which is what moves keys in the cache
  const StopFlag* stop_ = nullptr;  // of the feed under way; the abort callback reads it
  const float* logits_ = nullptr;   // owned by context_
  // One pass of a prefill.
  std::vector<llama_pos> positions_;
  std::vector<std::int32_t> n_sequences_;
  std::vector<llama_seq_id*> sequences_;
  std::vector<std::int8_t> wanted_;
  llama_seq_id sequence_ = 0;
};

}  // namespace parley::llama
