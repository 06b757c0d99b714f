// ggml's code for a kind of processor that does not exist. The number in the name of its file is
// its score: libggml-cpu-7.so. Who takes it dies, as of an instruction that the processor lacks.
#include <dlfcn.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

extern "C" {
int ggml_backend_score() {
  Dl_info info{};
  dladdr(reinterpret_cast<void*>(&ggml_backend_score), &info);
  return std::atoi(std::strrchr(info.dli_fname, '-') + 1);
}
void* ggml_backend_init() {
  std::raise(SIGILL);
  return nullptr;
}
}
