// A llama.cpp whose code for the processor lies in other files and is loaded at run time. Computes
// nothing: ggml_backend_load only counts the files that are willing.
#include <dlfcn.h>
#include <ggml-backend.h>
#include <llama.h>

#include <cstddef>
#include <cstdint>

#include "empty_llama.h"

namespace {
std::size_t devices = 0;
ggml_type_traits q8_0{};
void convert(const void*, float*, std::int64_t) {}
}  // namespace

extern "C" {
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
}
