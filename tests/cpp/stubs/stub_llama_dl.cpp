// A llama.cpp whose code for the processor lies in other files and is loaded at run time. Computes
// nothing: ggml_backend_load only counts the files that are willing.
#include <dlfcn.h>
#include <ggml-backend.h>
#include <llama.h>

#include <cstddef>
#include <cstdint>

namespace {
std::size_t devices = 0;
ggml_type_traits q8_0{};
void convert(const void*, float*, std::int64_t) {}
}  // namespace

// Under the name of a function that llama.h declares otherwise.
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
std::size_t ggml_backend_dev_count() {
  return devices;
}
ggml_backend_reg_t ggml_backend_load(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nullptr;
  const auto score = reinterpret_cast<int (*)()>(dlsym(library, "ggml_backend_score"));
  if (score == nullptr || score() == 0) return nullptr;
  ++devices;
  return static_cast<ggml_backend_reg_t>(library);
}
llama_model_params llama_model_default_params() {
  llama_model_params params{};
  params.split_mode = LLAMA_SPLIT_MODE_LAYER;
  return params;
}
llama_context_params llama_context_default_params() {
  llama_context_params params{};
  params.n_ctx = params.n_ubatch = 512;
  params.n_seq_max = 1;
  params.type_k = params.type_v = GGML_TYPE_F16;
  return params;
}
const ggml_type_traits* ggml_get_type_traits(ggml_type) {
  q8_0.blck_size = 32;
  q8_0.type_size = 34;
  q8_0.to_float = convert;
  return &q8_0;
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
