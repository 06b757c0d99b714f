// llama.cpp's own loop, as its programs run it: ids in, logits out; the yardstick of our stage.
#include "bench/plain_loop.h"

#include "parley/errors.hpp"
#include "runners/llama/token_runner.h"

namespace parley {

namespace {

class Loop final : public PlainLoop {
 public:
  Loop(std::shared_ptr<const llama::Model> model, const TokenRunnerOptions& options)
      : model_(std::move(model)),
        f_(model_->library().functions()),
        context_(f_.llama_init_from_model(model_->model(), context_params(*model_, options)),
                 f_.llama_free) {
    if (!context_) {
      throw ContextError("[llama.plain_loop] expected memory for " +
                         std::to_string(options.n_cells) + " KV cells, got none; lower n_cells");
    }
  }

  std::span<const float> decode(std::span<const std::int32_t> ids) override {
    tokens_.assign(ids.begin(), ids.end());
    positions_.resize(ids.size());
    for (llama_pos& position : positions_) position = next_++;
    counts_.assign(ids.size(), 1);
    sequences_.assign(ids.size(), &sequence_);
    wanted_.assign(ids.size(), 0);
    wanted_.back() = 1;
    llama_batch batch{};
    batch.n_tokens = static_cast<std::int32_t>(ids.size());
    batch.token = tokens_.data();
    batch.pos = positions_.data();
    batch.n_seq_id = counts_.data();
    batch.seq_id = sequences_.data();
    batch.logits = wanted_.data();
    const std::int32_t code = f_.llama_decode(context_.get(), batch);
    const float* logits = code == 0 ? f_.llama_get_logits_ith(context_.get(), -1) : nullptr;
    if (logits == nullptr) {
      throw Error("[llama.plain_loop] expected llama.cpp to compute a pass, got code " +
                  std::to_string(code) + "; measure fewer tokens");
    }
    return {logits, static_cast<std::size_t>(model_->vocab_size())};
  }

 private:
  std::shared_ptr<const llama::Model> model_;
  const llama::Functions& f_;
  std::unique_ptr<llama_context, void (*)(llama_context*)> context_;
  llama_pos next_ = 0;
  llama_seq_id sequence_ = 0;
  std::vector<llama_token> tokens_;
  std::vector<llama_pos> positions_;
  std::vector<std::int32_t> counts_;
  std::vector<llama_seq_id*> sequences_;
  std::vector<std::int8_t> wanted_;
};

}  // namespace

std::unique_ptr<PlainLoop> make_plain_loop(std::shared_ptr<const TokenModel> model,
                                           const TokenRunnerOptions& options) {
  auto own = std::dynamic_pointer_cast<const llama::Model>(std::move(model));
  if (own == nullptr) {
    throw InputError(
        "[llama.plain_loop] expected a model of llama.cpp, got another; open it with "
        "open_token_model");
  }
  return std::make_unique<Loop>(std::move(own), options);
}

}  // namespace parley
