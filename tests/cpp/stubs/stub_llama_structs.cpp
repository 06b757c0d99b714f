// A llama.cpp that names the right version but fills its structs otherwise. Computes nothing.
#include <cstring>

#include "empty_llama.h"

namespace {
struct Filled {  // larger than a register pair, so it is returned through memory like the real ones
  unsigned char bytes[80];
};
struct FilledContext {
  unsigned char bytes[160];
};
}  // namespace

extern "C" {
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
}
