// What stubs of llama.cpp have in common: the right versions, and functions that are only looked
// up.
#pragma once

// Under the name of a function that llama.h may declare otherwise.
#define PARLEY_EMPTY(name)           \
  void stub_##name() __asm__(#name); \
  void stub_##name() {}

extern "C" {
const char* llama_version() {
  return "0.5.0-dev";
}
const char* ggml_version() {
  return "0.25.3";
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
