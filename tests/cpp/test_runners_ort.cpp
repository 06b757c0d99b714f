// The ONNX Runtime runner against the real library and graphs that follow a formula.
#include "runners/ort/ort.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <thread>

#include "check.h"
#include "kernels/snakebeta/snakebeta.h"
#include "parley/errors.hpp"
#include "runner_support.h"
#include "scratch_folder.h"

using namespace parley;

namespace {

constexpr const char* kLibrary = "PARLEY_ONNXRUNTIME";

std::shared_ptr<const GraphRunner> open(const std::string& name, GraphOptions options = {}) {
  if (options.threads == 0) options.threads = 1;
  return open_graph("", support::data(name), options);
}

struct Affine {
  std::shared_ptr<const GraphRunner> graph = open("affine.onnx");
  std::int64_t n = 3;
  std::int64_t echo = 0;
  float total = 0.0F;
  StopFlag stop;

  std::vector<float> run(const std::vector<float>& x) {
    std::vector<float> y(x.size(), -1.0F);
    const auto t = static_cast<std::int64_t>(x.size());
    const TensorView inputs[] = {view(x.data(), {1, t}), view(&n, {1})};
    const TensorView outputs[] = {view(y.data(), {1, t}), view(&total, {1}), view(&echo, {1})};
    graph->run(inputs, outputs, stop);
    return y;
  }
};

}  // namespace

TEST(a_graph_says_its_names_types_and_shapes) {
  support::need(kLibrary);
  const auto graph = open("affine.onnx");
  REQUIRE(graph->inputs().size() == 2 && graph->outputs().size() == 3);
  CHECK_EQ(graph->inputs()[0].name, "x");
  CHECK(graph->inputs()[0].type == DType::f32);
  CHECK(graph->inputs()[0].shape == std::vector<std::int64_t>({1, -1}));
  CHECK_EQ(graph->inputs()[1].name, "n");
  CHECK(graph->inputs()[1].type == DType::i64);
  CHECK_EQ(graph->outputs()[2].name, "echo");
}

TEST(outputs_are_written_in_place_for_any_free_dimension) {
  support::need(kLibrary);
  Affine affine;
  for (std::size_t t : {1U, 2U, 7U, 1000U}) {
    std::vector<float> x(t);
    for (std::size_t i = 0; i < t; ++i) x[i] = static_cast<float>(i % 5);
    const std::vector<float> y = affine.run(x);
    float sum = 0.0F;
    for (std::size_t i = 0; i < t; ++i) {
      CHECK_EQ(y[i], 2.0F * x[i] + 3.0F);
      sum += x[i];
    }
    CHECK_EQ(affine.total, sum);
    CHECK_EQ(affine.echo, 4);
  }
}

TEST(an_empty_free_dimension_needs_no_memory) {
  support::need(kLibrary);
  Affine affine;
  float y = 0.0F;
  const TensorView inputs[] = {view(static_cast<const float*>(nullptr), {1, 0}),
                               view(&affine.n, {1})};
  const TensorView outputs[] = {view(&y, {1, 0}), view(&affine.total, {1}),
                                view(&affine.echo, {1})};
  affine.graph->run(inputs, outputs, affine.stop);
  CHECK_EQ(affine.total, 0.0F);
  CHECK_EQ(affine.echo, 4);
}

TEST(an_output_without_memory_is_not_fetched) {
  support::need(kLibrary);
  Affine affine;
  const float x[] = {1.0F, 2.0F};
  const TensorView inputs[] = {view(x, {1, 2}), view(&affine.n, {1})};
  const TensorView outputs[] = {TensorView{}, view(&affine.total, {1}), TensorView{}};
  affine.graph->run(inputs, outputs, affine.stop);
  CHECK_EQ(affine.total, 3.0F);
  CHECK_EQ(affine.echo, 0);
}

TEST(states_go_out_and_come_in_again) {
  support::need(kLibrary);
  const auto graph = open("stream.onnx");
  CHECK_EQ(graph->inputs()[1].name, "state_in.tail");
  CHECK_EQ(graph->outputs()[2].name, "state_out.count");
  float tail[2][3] = {};
  std::int64_t count[2] = {};
  StopFlag stop;
  std::vector<float> all;
  for (int chunk = 0; chunk < 5; ++chunk) {
    float x[4];
    float y[4];
    for (float& value : x) all.push_back(value = static_cast<float>(all.size() * 7 % 11));
    const int in = chunk % 2;
    const int out = 1 - in;
    const TensorView inputs[] = {view(x, {1, 4}), view(tail[in], {1, 3}), view(&count[in], {1})};
    const TensorView outputs[] = {view(y, {1, 4}), view(tail[out], {1, 3}), view(&count[out], {1})};
    graph->run(inputs, outputs, stop);
    CHECK_EQ(count[out], 4 * (chunk + 1));
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t at = all.size() - 4 + i;
      CHECK_EQ(y[i], all[at] + (at < 3 ? 0.0F : all[at - 3] / 2.0F));
    }
  }
}

TEST(weights_beside_the_graph_are_found) {
  support::need(kLibrary);
  const auto graph = open("external.onnx");
  const float x[] = {1.0F, 0.0F, 2.0F, 0.0F};
  float y[4] = {};
  const TensorView inputs[] = {view(x, {1, 4})};
  const TensorView outputs[] = {view(y, {1, 4})};
  graph->run(inputs, outputs, StopFlag());
  for (int i = 0; i < 4; ++i) CHECK_EQ(y[i], static_cast<float>(3 * i + 16));
}

TEST(wrong_counts_types_and_shapes_name_the_tensor) {
  support::need(kLibrary);
  Affine affine;
  const float x[] = {1.0F, 2.0F};
  float y[4] = {};
  const std::int64_t bad = 0;
  const TensorView good_in[] = {view(x, {1, 2}), view(&affine.n, {1})};
  const TensorView good_out[] = {view(y, {1, 2}), TensorView{}, TensorView{}};
  const auto run = [&](std::vector<TensorView> in, std::vector<TensorView> out) {
    affine.graph->run(in, out, affine.stop);
  };
  const std::vector<TensorView> in(good_in, good_in + 2);
  const std::vector<TensorView> out(good_out, good_out + 3);
  run(in, out);
  CHECK_THROWS_MSG(InputError, "expected 2 inputs", run({in[0]}, out));
  CHECK_THROWS_MSG(InputError, "expected 3 outputs", run(in, {out[0]}));
  CHECK_THROWS_MSG(InputError, "'x' of 'affine.onnx' to be f32 [1, any], got f32 [2, 1]",
                   run({view(x, {2, 1}), in[1]}, out));
  CHECK_THROWS_MSG(InputError, "got f32 [2]", run({view(x, {2}), in[1]}, out));
  CHECK_THROWS_MSG(InputError, "got f32 [1, any]", run({view(x, {1, -1}), in[1]}, out));
  CHECK_THROWS_MSG(InputError, "'x' of 'affine.onnx' to be f32 [1, any], got i64 [1, 1]",
                   run({view(&bad, {1, 1}), in[1]}, out));
  CHECK_THROWS_MSG(InputError, "'n' of 'affine.onnx' to be i64 [1], got f32 [1]",
                   run({in[0], view(x, {1})}, out));
  CHECK_THROWS_MSG(InputError, "memory for the input 'x'",
                   run({view(static_cast<const float*>(nullptr), {1, 2}), in[1]}, out));
  CHECK_THROWS_MSG(InputError, "'y' of 'affine.onnx' to be f32 [1, any], got f32 [2, 2]",
                   run(in, {view(y, {2, 2}), out[1], out[2]}));
  // Fits the declared shape, but not this input's.
  CHECK_THROWS_MSG(InputError, "[ort.run]", run(in, {view(y, {1, 3}), out[1], out[2]}));
  CHECK_EQ(y[2], 0.0F);
  run(in, out);  // and the runner is as before
  CHECK_EQ(y[1], 7.0F);
}

TEST(free_dimensions_that_disagree_are_an_input_error) {
  support::need(kLibrary);
  const auto graph = open("pair.onnx");
  const float a[] = {1.0F, 2.0F};
  const float b[] = {1.0F, 2.0F, 3.0F};
  float sum[3] = {};
  const TensorView inputs[] = {view(a, {2}), view(b, {3})};
  const TensorView outputs[] = {view(sum, {3})};
  CHECK_THROWS_MSG(InputError, "'pair.onnx'", graph->run(inputs, outputs, StopFlag()));
}

TEST(a_set_stop_flag_ends_a_run) {
  support::need(kLibrary);
  Affine affine;
  affine.stop.set();
  CHECK_THROWS_MSG(CancelledError, "cancelled", affine.run({1.0F}));
  affine.stop.clear();
  CHECK_EQ(affine.run({1.0F})[0], 5.0F);
}

TEST(one_runner_serves_several_threads) {
  support::need(kLibrary);
  Affine shared;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int worker = 0; worker < 4; ++worker) {
    threads.emplace_back([&shared, &wrong, worker] {
      Affine own;
      own.graph = shared.graph;
      for (int i = 0; i < 200; ++i) {
        const auto value = static_cast<float>(worker * 1000 + i);
        if (own.run({value, 1.0F})[0] != 2.0F * value + 3.0F) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST(damaged_graphs_are_bundle_errors) {
  support::need(kLibrary);
  const ScratchFolder folder;
  const std::string good = support::read_file(support::data("affine.onnx"));
  const auto try_open = [&](const std::string& bytes) {
    folder.write("bad.onnx", bytes);
    open_graph("", folder.path() / "bad.onnx", {.threads = 1});
  };
  CHECK_THROWS_MSG(BundleError, "bad.onnx", try_open(good.substr(0, good.size() / 2)));
  CHECK_THROWS_MSG(BundleError, "bad.onnx", try_open("not a graph"));
  CHECK_THROWS_MSG(BundleError, "bad.onnx", try_open(""));
  CHECK_THROWS_MSG(BundleError, "none.onnx", open_graph("", folder.path() / "none.onnx", {}));
  // External weights are missing, then cut short.
  folder.write("external.onnx", support::read_file(support::data("external.onnx")));
  CHECK_THROWS_MSG(BundleError, "external.onnx",
                   open_graph("", folder.path() / "external.onnx", {}));
  folder.write("external.onnx.data", std::string(10, '\0'));
  CHECK_THROWS_MSG(BundleError, "external.onnx",
                   open_graph("", folder.path() / "external.onnx", {}));
  CHECK_THROWS_MSG(BundleError, "'x' of 'double.onnx' to be an f32, f16 or i64 tensor",
                   open("double.onnx"));
}

TEST(half_precision_goes_in_as_it_is) {
  support::need(kLibrary);
  const auto graph = open("half.onnx");
  std::uint16_t x = 0x3E00;  // 1.5
  float y = 0.0F;
  const std::array<TensorView, 1> in = {TensorView{&x, DType::f16, {1}}};
  const std::array<TensorView, 1> out = {view(&y, {1})};
  graph->run(in, out, StopFlag());
  CHECK_EQ(y, 1.5F);
}

TEST(absent_devices_are_library_errors_that_say_what_to_install) {
  support::need(kLibrary);
  const std::vector<std::string> providers = onnxruntime_providers("");
  bool has_cuda = false;
  bool has_cpu = false;
  for (const std::string& name : providers) {
    has_cuda = has_cuda || name == "CUDAExecutionProvider";
    has_cpu = has_cpu || name == "CPUExecutionProvider";
  }
  CHECK(has_cpu);
  if (has_cuda) throw check::Skip{"this ONNX Runtime has CUDA"};
  CHECK_THROWS_MSG(LibraryError, "pip install 'onnxruntime-gpu[cuda,cudnn]'",
                   open("affine.onnx", {.device = "cuda"}));
  CHECK_THROWS_MSG(LibraryError, "TensorrtExecutionProvider",
                   open("affine.onnx", {.device = "tensorrt"}));
  CHECK_THROWS_MSG(InputError, "cpu, cuda or tensorrt", open("affine.onnx", {.device = "npu"}));
}

TEST(a_device_is_tried_with_a_graph_on_it) {
  support::need(kLibrary);
  try_onnxruntime_device("", "cpu");
  CHECK_THROWS_MSG(InputError, "cpu, cuda or tensorrt", try_onnxruntime_device("", "npu"));
}

TEST(graphs_share_named_threads_which_go_with_the_last) {
  support::need(kLibrary);
  const auto named = [] {
    std::size_t n = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task"))
      n += support::read_file(task.path() / "comm") == "parley-graph\n" ? 1 : 0;
    return n;
  };
  {
    const auto affine = open("affine.onnx", {.threads = 4});
    const auto stream = open("stream.onnx", {.threads = 4});
    CHECK_EQ(named(), 3U);  // and the caller
    const auto other = open("half.onnx", {.threads = 2});
    CHECK_EQ(named(), 4U);
  }
  CHECK_EQ(named(), 0U);
}

TEST(the_version_is_told) {
  support::need(kLibrary);
  CHECK(onnxruntime_version("").rfind("1.", 0) == 0);
}

namespace {

// Runs the operator on a window [1, channels, samples] and compares it with the kernel's own call.
void check_snakebeta(std::int64_t channels, std::int64_t samples, int threads) {
  constexpr std::size_t kReach =
      SNAKEBETA_REACH;  // outputs without memory are not fetched: one to spare
  const auto c = static_cast<std::size_t>(channels), t = static_cast<std::size_t>(samples);
  const std::int64_t n = std::max<std::int64_t>(samples - 2 * SNAKEBETA_REACH, 0);
  const std::array<std::int64_t, 2> range = {3, samples + 9};
  std::vector<float> x(c * t), alpha(c), beta(c), y(c * static_cast<std::size_t>(n) + 1),
      expected(y.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 97) / 40.0F - 1.0F;
  for (std::size_t i = 0; i < c; ++i) alpha[i] = beta[i] = static_cast<float>(i % 5) / 4.0F - 0.5F;
  const auto graph = open("snakebeta.onnx", {.threads = threads});
  const TensorView inputs[] = {view(x.data(), {1, channels, samples}), view(range.data(), {2}),
                               view(alpha.data(), {channels}), view(beta.data(), {channels})};
  const TensorView outputs[] = {view(y.data(), {1, channels, n})};
  graph->run(inputs, outputs, StopFlag());
  const parley_snakebeta_window window = {c, t, range[0], range[1], kReach, kReach};
  parley_snakebeta_forward(&window, x.data(), alpha.data(), beta.data(), 0, c, expected.data());
  CHECK(y == expected);
}

}  // namespace

TEST(the_snakebeta_operator_runs_the_kernel) {
  support::need(kLibrary);
  check_snakebeta(3, 40, 1);
  check_snakebeta(24, 8000, 2);  // several tasks
  check_snakebeta(2, 2 * SNAKEBETA_REACH, 1);
}

TEST(the_snakebeta_operator_refuses_what_does_not_fit) {
  support::need(kLibrary);
  CHECK_THROWS_MSG(InputError, "[snakebeta.run] expected at least left + right",
                   check_snakebeta(2, 2 * SNAKEBETA_REACH - 1, 1));
}
