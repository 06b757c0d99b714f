// A llama.cpp that names the right version but fills its structs otherwise. Computes nothing.
#include <cstring>

namespace {
struct Filled {  // larger than a register pair, so it is returned through memory like the real ones
  unsigned char bytes[80];
};
struct FilledContext {
  unsigned char bytes[160];
};
}  // namespace

#define PARLEY_EMPTY(name) \
  void name() {}

extern "C" {
const char* llama_version() {
  return "0.5.0-dev";
}
const char* ggml_version() {
  return "0.25.3";
}
Filled llama_model_default_params() {
  Filled filled;
  std::memset(&filled, 0, sizeof filled);
  return filled;
}
FilledContext llama_context_default_params() {
  FilledContext filled;
  std::memset(&filled, 0, sizeof filled);
  return filled;
}
const void* ggml_get_type_traits(int) {
  return nullptr;
}
PARLEY_EMPTY(llama_backend_init)
PARLEY_EMPTY(llama_log_get)
PARLEY_EMPTY(llama_log_set)
PARLEY_EMPTY(ggml_log_get)
PARLEY_EMPTY(ggml_log_set)
PARLEY_EMPTY(llama_supports_gpu_offload)
PARLEY_EMPTY(llama_model_load_from_file)
PARLEY_EMPTY(llama_model_quantize_default_params)
PARLEY_EMPTY(llama_model_quantize)
PARLEY_EMPTY(llama_model_free)
PARLEY_EMPTY(llama_model_get_vocab)
PARLEY_EMPTY(llama_model_n_embd)
PARLEY_EMPTY(llama_model_n_head)
PARLEY_EMPTY(llama_init_from_model)
PARLEY_EMPTY(llama_free)
PARLEY_EMPTY(llama_n_ctx)
PARLEY_EMPTY(llama_get_memory)
PARLEY_EMPTY(llama_memory_seq_rm)
PARLEY_EMPTY(llama_memory_seq_cp)
PARLEY_EMPTY(llama_memory_seq_pos_min)
PARLEY_EMPTY(llama_memory_seq_pos_max)
PARLEY_EMPTY(llama_memory_seq_add)
PARLEY_EMPTY(llama_memory_can_shift)
PARLEY_EMPTY(llama_state_seq_get_size)
PARLEY_EMPTY(llama_state_seq_get_data)
PARLEY_EMPTY(llama_state_seq_set_data)
PARLEY_EMPTY(llama_decode)
PARLEY_EMPTY(llama_get_logits_ith)
PARLEY_EMPTY(llama_vocab_n_tokens)
PARLEY_EMPTY(llama_vocab_get_attr)
PARLEY_EMPTY(llama_vocab_get_text)
PARLEY_EMPTY(llama_tokenize)
PARLEY_EMPTY(llama_token_to_piece)
}
