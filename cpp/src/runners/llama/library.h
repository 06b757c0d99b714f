// One opened llama.cpp: its functions, its version and its last error line; knows no model.
#pragma once
#include <ggml.h>
#include <llama.h>

#include <memory>
#include <mutex>
#include <string>

#include "runners/dynamic_library.h"

namespace parley::llama {

// What this build was compiled for. The structs of llama.cpp change between versions, and they are
// passed by value, so no other version can be called.
constexpr const char* kPackage = "0.3.36";  // of llama-cpp-python
constexpr const char* kLlamaVersion = "0.5.0-dev";
constexpr const char* kGgmlVersion = "0.25.3";
static_assert(sizeof(llama_model_params) == 80 && sizeof(llama_context_params) == 160 &&
                  sizeof(llama_batch) == 56 && sizeof(ggml_type_traits) == 56 &&
                  LLAMA_SESSION_VERSION == 10 && GGML_TYPE_COUNT == 43,
              "these headers are of another llama.cpp than that of third_party/llama");

// Every function that is called, typed by the header. ggml's come from the library that libllama
// itself depends on, never from a second copy.
#define PARLEY_LLAMA_FUNCTIONS(X)        \
  X(llama_backend_init)                  \
  X(llama_log_get)                       \
  X(llama_log_set)                       \
  X(llama_supports_gpu_offload)          \
  X(llama_model_default_params)          \
  X(llama_context_default_params)        \
  X(llama_model_load_from_file)          \
  X(llama_model_quantize_default_params) \
  X(llama_model_quantize)                \
  X(llama_model_free)                    \
  X(llama_model_get_vocab)               \
  X(llama_model_n_embd)                  \
  X(llama_model_n_head)                  \
  X(llama_init_from_model)               \
  X(llama_free)                          \
  X(llama_n_ctx)                         \
  X(llama_get_memory)                    \
  X(llama_memory_seq_rm)                 \
  X(llama_memory_seq_cp)                 \
  X(llama_memory_seq_pos_min)            \
  X(llama_memory_seq_pos_max)            \
  X(llama_memory_seq_add)                \
  X(llama_memory_can_shift)              \
  X(llama_state_seq_get_size)            \
  X(llama_state_seq_get_data)            \
  X(llama_state_seq_set_data)            \
  X(llama_decode)                        \
  X(llama_get_logits_ith)                \
  X(llama_vocab_n_tokens)                \
  X(llama_vocab_get_attr)                \
  X(llama_vocab_get_text)                \
  X(llama_tokenize)                      \
  X(llama_token_to_piece)                \
  X(ggml_log_get)                        \
  X(ggml_log_set)                        \
  X(ggml_get_type_traits)

struct Functions {
#define PARLEY_LLAMA_POINTER(name) decltype(&::name) name = nullptr;
  PARLEY_LLAMA_FUNCTIONS(PARLEY_LLAMA_POINTER)
#undef PARLEY_LLAMA_POINTER
};

// Who a library's messages go to; the program's own until parley opens a model.
struct Logger {
  ggml_log_callback call = nullptr;
  void* data = nullptr;
};

class Library {
 public:
  // One per process and path, made at the first call and never closed. `path` may also name one of
  // ggml's variants for the CPU beside the library (backends.h), to be taken instead of the best.
  // Throws LibraryError where the library is missing, of another version, or has no code for this
  // processor.
  static const Library& open(const std::string& path);

  const Functions& functions() const { return functions_; }
  const std::string& path() const { return library_.path(); }
  const std::string& version() const { return version_; }
  // The file of ggml's code that was taken; empty where it is linked in.
  const std::string& variant() const { return variant_; }

  // From the first of these to the last of those, llama.cpp's messages come to parley; then the
  // program's loggers are back, unless it set others meanwhile.
  void listen() const;
  void stop_listening() const noexcept;

 private:
  Library(const std::string& path, const std::string& variant);
  void check_versions();
  void find_functions();
  void check_structs() const;
  void load_backends(const std::string& variant);

  DynamicLibrary library_;
  Functions functions_;
  std::string version_;
  std::string variant_;
  mutable std::mutex mutex_;
  mutable int listeners_ = 0;
  mutable Logger llama_logger_, ggml_logger_;  // the program's
};

// Listens as long as it lives.
class Listening {
 public:
  explicit Listening(const Library& library) : library_(library) { library_.listen(); }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  ~Listening() { library_.stop_listening(); }

 private:
  const Library& library_;
};

// The first error, else the last warning, that llama.cpp logged on this thread since clear_log().
const char* last_log();
void clear_log();

}  // namespace parley::llama
