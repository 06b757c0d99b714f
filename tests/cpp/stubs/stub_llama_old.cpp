// A llama.cpp of another version, with ggml's. Computes nothing.
extern "C" {
const char* llama_version() {
  return "0.4.9";
}
const char* ggml_version() {
  return "0.24.0";
}
}
