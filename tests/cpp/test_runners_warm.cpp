// What the runners do not do beside their libraries: allocate once warm, print, or log to stderr.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "check.h"
#include "parley/errors.hpp"
#include "runner_support.h"
#include "runners/llama/model.h"
#include "runners/ort/ort.h"
#include "scratch_folder.h"

using namespace parley;

extern "C" const char __executable_start;  // by the linker: where this executable's code lies
extern "C" const char etext;

namespace {

thread_local long allocations = 0;

// The libraries call operator new too; only calls from this executable's code are ours.
void* counted(std::size_t size, const void* caller) {
  if (caller >= &__executable_start && caller < &etext) ++allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// What `body` writes to stdout and stderr, whoever writes it.
template <typename Body>
std::string printed(Body body) {
  const ScratchFolder folder;
  const std::string file = folder.path() / "output";
  std::fflush(nullptr);
  const int out = dup(1);
  const int err = dup(2);
  const int to = open(file.c_str(), O_CREAT | O_WRONLY, 0600);
  dup2(to, 1);
  dup2(to, 2);
  try {
    body();
  } catch (...) {
    std::printf("an exception left the body\n");
  }
  std::fflush(nullptr);
  dup2(out, 1);
  dup2(err, 2);
  for (int descriptor : {out, err, to}) close(descriptor);
  return support::read_file(file);
}

}  // namespace

// Not inlined: GCC would take the pairs for mismatched ones.
__attribute__((noinline)) void* operator new(std::size_t size) {
  return counted(size, __builtin_return_address(0));
}
__attribute__((noinline)) void operator delete(void* memory) noexcept {
  std::free(memory);
}
__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

TEST(the_counter_counts) {
  const long before = allocations;
  delete new int(3);
  std::vector<int> ten(10);
  ten.push_back(1);
  CHECK(allocations > before);
}

TEST(a_warm_graph_run_allocates_nothing_of_ours) {
  support::need("PARLEY_ONNXRUNTIME");
  const auto graph = open_graph("", support::data("affine.onnx"), {.threads = 1});
  const float x[] = {1.0F, 2.0F};
  const std::int64_t n = 1;
  float y[2] = {};
  const StopFlag stop;
  const TensorView inputs[] = {view(x, {1, 2}), view(&n, {1})};
  const TensorView outputs[] = {view(y, {1, 2}), TensorView{}, TensorView{}};
  graph->run(inputs, outputs, stop);
  const long before = allocations;
  for (int i = 0; i < 50; ++i) graph->run(inputs, outputs, stop);
  CHECK_EQ(allocations - before, 0);
  CHECK_EQ(y[1], 5.0F);
}

TEST(a_warm_feed_allocates_nothing_of_ours) {
  support::need("PARLEY_LLAMA");
  const auto model = open_token_model("", support::data("decoder_f32.gguf"));
  TokenRunnerOptions options;
  options.n_cells = 512;
  options.n_batch = 8;
  options.threads = 1;
  const auto runner = model->create(options);
  std::vector<float> rows(6 * 64);
  const std::int32_t ids[] = {1, 2, 3, 4, 5, 6};
  const StopFlag stop;
  const long before = allocations;
  for (std::int64_t chunk = 0; chunk < 60; ++chunk) {
    model->embed(ids, rows);
    runner->feed(rows, chunk * 6, true, stop);
    if (runner->logits().size() != 64) check::fail(__FILE__, __LINE__, "no logits");
    if (chunk % 5 == 4) runner->erase(chunk * 6 - 12, chunk * 6 - 6);
  }
  runner->erase(100, -1);
  CHECK_EQ(allocations - before, 0);
}

TEST(libraries_log_nothing_to_the_terminal) {
  support::need("PARLEY_ONNXRUNTIME");
  support::need("PARLEY_LLAMA");
  const ScratchFolder folder;
  folder.write("bad.onnx", "no graph");
  std::string renamed = support::read_file(support::data("decoder_f32.gguf"));
  renamed[renamed.find("blk.0.attn_q.weight")] = 'x';
  folder.write("bad.gguf", renamed);
  CHECK(printed([] { std::fprintf(stderr, "seen\n"); }) == "seen\n");
  CHECK_EQ(printed([&folder] {
             open_graph("", support::data("affine.onnx"), {.threads = 2});
             try {
               open_graph("", folder.path() / "bad.onnx", {});
             } catch (const BundleError&) {
             }
             try {
               open_token_model("", folder.path() / "bad.gguf");
             } catch (const BundleError&) {
             }
             const auto model = open_token_model("", support::data("decoder_f32.gguf"));
             TokenRunnerOptions options;
             options.n_cells = 64;
             const auto runner = model->create(options);
             runner->feed(std::vector<float>(64 * 3), 0, true, StopFlag());
           }),
           "");
}
