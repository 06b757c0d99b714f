// ONNX Runtime's thread pools: one for all graphs, else one for each; knows no graph.
#include "runners/ort/pool.h"

#include <new>
#include <thread>

#include "base/thread_name.h"

namespace parley::ort {
namespace {

// ONNX Runtime's handle is a struct of its own that it never looks into.
OrtCustomThreadHandle start_thread(void*, OrtThreadWorkerFn work, void* param) {
  try {
    auto* thread = new std::thread(work, param);
    name_thread(*thread, "parley-graph");
    return reinterpret_cast<OrtCustomThreadHandle>(thread);
  } catch (const std::exception&) {
    return nullptr;  // which it reports
  }
}

void join_thread(OrtCustomThreadHandle handle) {
  auto* thread = reinterpret_cast<std::thread*>(const_cast<OrtCustomHandleType*>(handle));
  thread->join();
  delete thread;
}

}  // namespace

Handle<OrtThreadingOptions> shared_pool(const Library& library, int threads) {
  const OrtApi& api = library.api();
  OrtThreadingOptions* raw = nullptr;
  library.require(api.CreateThreadingOptions(&raw), "threading options");
  Handle<OrtThreadingOptions> options(raw, api.ReleaseThreadingOptions);
  const auto set = [&](OrtStatus* status) { library.require(status, "to take a thread option"); };
  set(api.SetGlobalIntraOpNumThreads(raw, threads));
  set(api.SetGlobalInterOpNumThreads(raw, 1));
  // ggml's threads want the cores as soon as a graph is done.
  set(api.SetGlobalSpinControl(raw, 0));
  set(api.SetGlobalCustomCreateThreadFn(raw, start_thread));
  set(api.SetGlobalCustomJoinThreadFn(raw, join_thread));
  return options;
}

void set_threads(const Library& library, const Environment& environment, int threads,
                 OrtSessionOptions* options) {
  const OrtApi& api = library.api();
  const auto set = [&](OrtStatus* status) { library.require(status, "to take a session option"); };
  if (environment.threads == threads) {
    set(api.DisablePerSessionThreads(options));
    return;
  }
  set(api.SetIntraOpNumThreads(options, threads));
  set(api.SetInterOpNumThreads(options, 1));
  set(api.AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0"));
  set(api.SessionOptionsSetCustomCreateThreadFn(options, start_thread));
  set(api.SessionOptionsSetCustomJoinThreadFn(options, join_thread));
}

}  // namespace parley::ort
