// The files of ggml's code that lie beside a libllama built with GGML_BACKEND_DL; loads none.
#pragma once
#include <string>
#include <vector>

namespace parley::llama {

// The folder of a file; "." where the name has none.
std::string folder_of(const std::string& file);

// Whether a file is ggml's code for CPUs: libggml-cpu.so, or for one kind libggml-cpu-haswell.so.
bool is_variant(const std::string& file);

// The libllama that a variant belongs to.
std::string library_beside(const std::string& variant);

// Those of a folder that this processor can run, by ggml's own score, the best first. Each is
// opened, asked and closed.
std::vector<std::string> variants(const std::string& folder);

// Code for other devices, such as libggml-cuda.so.
std::vector<std::string> backends(const std::string& folder);

}  // namespace parley::llama
