// Opens GGUF token models with a llama.cpp library found at run time; knows nothing of speech.
#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "runners/runner.h"

namespace parley {

struct TokenModelOptions {
  std::string device = "cpu";  // cpu | cuda; tensorrt is the same GPU, so it counts as cuda
  bool kv_q8_0 = false;        // runners will take it: heads that do not allow it are refused now
  bool importance = false;     // add up what products read; CPU only
};

// `library`: path of libllama, or of one of the libggml-cpu-*.so beside it, which is then taken
// instead of the best; empty: the environment's PARLEY_LLAMA, else the loader's libllama.so. Throws
// LibraryError (library missing or of another version, no GPU support), BundleError (the file) or
// InputError (the options). The weights are mapped, and shared by all runners of the model; runners
// may work on different threads at once.
std::shared_ptr<const TokenModel> open_token_model(const std::string& library,
                                                   const std::filesystem::path& file,
                                                   const TokenModelOptions& options = {});

// What quantize_gguf writes and what it may take.
struct QuantizeOptions {
  int file_type = 0;  // llama.h's number of the type, such as 15 for q4_k_m
  int threads = 1;
  std::size_t rows_bytes = 1 << 30;  // that are converted at once
  bool requantize = false;           // take a source that is quantized already
  std::vector<Importance> importance;
};

// Writes `target` as a copy of the GGUF file `source` in another type; tells its progress as log
// messages. Throws LibraryError, and BundleError where llama.cpp refuses the file.
void quantize_gguf(const std::string& library, const std::filesystem::path& source,
                   const std::filesystem::path& target, const QuantizeOptions& options);

// For `parley doctor`: the library's version, the file of ggml's code for the CPU (empty where that
// is linked in), and whether it was built for a GPU. All throw LibraryError.
std::string llama_version_of(const std::string& library);
std::string llama_variant_of(const std::string& library);
bool llama_has_gpu(const std::string& library);

// The files of ggml's code beside the library that this processor can run, the best first. Opens
// each to ask it, runs none.
std::vector<std::string> llama_variants(const std::string& library);

}  // namespace parley
