// What the vendor libraries leave as they found it, and who hears them: needs llama.cpp.
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <stdexcept>

#include "check.h"
#include "parley/errors.hpp"
#include "parley/log.hpp"
#include "runner_support.h"
#include "runners/dynamic_library.h"
#include "runners/llama/model.h"
#include "runners/ort/ort.h"

using namespace parley;

namespace {

// llama.cpp's logger, through the same library that parley opens.
using Callback = void (*)(int level, const char* text, void* data);

template <typename Function>
Function llama(const char* name) {
  void* handle = dlopen(std::getenv("PARLEY_LLAMA"), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw std::runtime_error(dlerror());
  return reinterpret_cast<Function>(dlsym(handle, name));
}

Callback logger(const char* get) {
  Callback call = nullptr;
  void* data = nullptr;
  llama<void (*)(Callback*, void**)>(get)(&call, &data);
  return call;
}

std::atomic<int> program_heard{0};
void program_logger(int, const char*, void*) {
  ++program_heard;
}

void other_logger(int, const char*, void*) {}

void terminated() {
  std::abort();
}

}  // namespace

// First: a library is loaded once in a process.
TEST(the_program_s_terminate_handler_stays) {
  support::need("PARLEY_LLAMA");
  const std::terminate_handler before = std::set_terminate(terminated);
  llama_version_of("");
  CHECK(std::get_terminate() == terminated);
  std::set_terminate(before);
}

TEST(the_program_s_logger_is_back_when_the_last_model_is_closed) {
  support::need("PARLEY_LLAMA");
  llama_version_of("");
  llama<void (*)(Callback, void*)>("llama_log_set")(program_logger, nullptr);
  CHECK(logger("llama_log_get") == program_logger);
  {
    const auto first = open_token_model("", support::data("decoder_f32.gguf"));
    const auto second = open_token_model("", support::data("decoder_f32.gguf"));
    CHECK(logger("llama_log_get") != program_logger);
  }
  CHECK_EQ(program_heard.load(), 0);
  CHECK(logger("llama_log_get") == program_logger);
  CHECK(logger("ggml_log_get") == program_logger);
  {
    const auto model = open_token_model("", support::data("decoder_f32.gguf"));
    llama<void (*)(Callback, void*)>("llama_log_set")(other_logger, nullptr);
  }
  CHECK(logger("llama_log_get") == other_logger);  // set meanwhile: not ours to undo
}

TEST(a_listener_hears_what_a_library_says) {
  support::need("PARLEY_LLAMA");
  std::atomic<int> heard{0};
  std::atomic<bool> good{true};
  set_log([&](LogLevel, std::string_view library, std::string_view text) {
    ++heard;
    good = good && library == "llama" && !text.empty() && text.back() != '\n';
    throw std::runtime_error("a listener's error must not reach the library");
  });
  open_token_model("", support::data("decoder_f32.gguf"));
  CHECK(heard > 0);
  CHECK(good);
  set_log({});
  const int before = heard;
  open_token_model("", support::data("decoder_f32.gguf"));
  CHECK_EQ(heard.load(), before);
}

TEST(onnxruntime_s_errors_are_heard) {
  support::need("PARLEY_ONNXRUNTIME");
  std::string said;
  set_log([&](LogLevel level, std::string_view library, std::string_view text) {
    if (level == LogLevel::error && library == "onnxruntime") said = text;
  });
  const auto graph = open_graph("", support::data("pair.onnx"), {.threads = 1});
  const float a[] = {1.0F, 2.0F};
  const float b[] = {1.0F, 2.0F, 3.0F};
  float sum[3] = {};
  const TensorView inputs[] = {view(a, {2}), view(b, {3})};
  const TensorView outputs[] = {view(sum, {3})};
  CHECK_THROWS_MSG(InputError, "pair.onnx", graph->run(inputs, outputs, StopFlag()));
  set_log({});
  CHECK(said.find("Add") != std::string::npos);
}

TEST(refused_memory_is_told_apart_from_a_bad_file) {
  for (const char* message :
       {"Exception during initialization: std::bad_alloc", "mmap failed: Cannot allocate memory",
        "env.cc:327 PosixThread::PosixThread", "ggml_aligned_malloc: insufficient memory"}) {
    CHECK_THROWS_MSG(MemoryError, "[ort.open] expected memory and threads for 'x', got",
                     refuse_no_memory("[ort.open] ", "'x'", message));
  }
  refuse_no_memory("[ort.open] ", "'x'", "Protobuf parsing failed.");
}
