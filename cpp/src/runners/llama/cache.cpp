// Opens a llama.cpp context and lends its sequences.
#include "runners/llama/cache.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include "parley/errors.hpp"

namespace parley::llama {

llama_context_params context_params(const Model& model, const TokenRunnerOptions& options) {
  llama_context_params params = model.library().functions().llama_context_default_params();
  params.n_ctx = static_cast<std::uint32_t>(options.n_cells);
  params.n_batch = static_cast<std::uint32_t>(options.n_batch);
  params.n_ubatch = params.n_batch;
  params.n_seq_max = 1;
  params.n_outputs_max = 1;  // else a row of logits is reserved for every position of a pass
  params.n_threads = options.threads > 0
                         ? options.threads
                         : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  params.n_threads_batch = params.n_threads;
  params.no_perf = true;
  params.op_offload = model.on_gpu();
  params.offload_kqv = model.on_gpu();
  if (options.kv_f32) {
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  } else if (options.kv_bf16) {
    params.type_k = params.type_v = GGML_TYPE_BF16;
  } else if (options.kv_q8_0) {
    params.type_k = params.type_v = GGML_TYPE_Q8_0;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;  // needed for 8-bit values
  }
  return params;
}

Cache::Cache(std::shared_ptr<const Model> model, const TokenRunnerOptions& options)
    : model_(std::move(model)),
      options_(options),
      context_(nullptr, model_->library().functions().llama_free),
      taken_(kSequences, false) {
  const Functions& f = model_->library().functions();
  llama_context_params params = context_params(*model_, options_);
  params.n_seq_max = kSequences;
  params.n_outputs_max = kSequences;
  params.kv_unified = true;  // sequences share their cells
  params.abort_callback = [](void* self) {
    const StopFlag* stop = static_cast<const Cache*>(self)->stop;
    return stop != nullptr && stop->is_set();
  };
  params.abort_callback_data = this;
  if (ImportanceSums* sums = model_->importance_sums()) {
    params.cb_eval = &ImportanceSums::see;
    params.cb_eval_user_data = sums;
  }
  // ggml ends the process where one of its own small allocations fails.
  constexpr std::size_t kRoom = std::size_t{32} << 20U;
  void* volatile room = std::malloc(kRoom);  // volatile: else it may be left out
  if (room == nullptr)
    refuse_no_memory("[llama.create] ", std::to_string(options_.n_cells) + " KV cells",
                     "bad_alloc");
  std::free(room);
  clear_log();
  context_.reset(f.llama_init_from_model(model_->model(), params));
  if (!context_ || f.llama_n_ctx(context_.get()) < params.n_ctx) {
    refuse_no_memory("[llama.create] ", std::to_string(options_.n_cells) + " KV cells", last_log());
    throw ContextError("[llama.create] expected memory for " + std::to_string(options_.n_cells) +
                       " KV cells, got '" + one_line(last_log()) + "'; lower n_cells");
  }
  memory_ = f.llama_get_memory(context_.get());
}

llama_seq_id Cache::take_sequence() {
  const auto free = std::find(taken_.begin(), taken_.end(), false);
  if (free == taken_.end()) {
    throw ContextError("[llama.fork] expected at most " + std::to_string(kSequences - 1) +
                       " forks of a conversation at a time, got one more; close one first");
  }
  *free = true;
  ++n_taken_;
  return static_cast<llama_seq_id>(free - taken_.begin());
}

void Cache::give_back(llama_seq_id sequence) {
  model_->library().functions().llama_memory_seq_rm(memory_, sequence, -1, -1);
  taken_[static_cast<std::size_t>(sequence)] = false;
  --n_taken_;
}

}  // namespace parley::llama
