// What a graph is opened with: threads, operators, device; knows no graph.
#include "runners/ort/session_options.h"

#include <algorithm>
#include <thread>

#include "runners/ort/devices.h"
#include "runners/ort/pool.h"

namespace parley::ort {

int threads_of(const GraphOptions& wanted) {
  if (wanted.threads > 0) return wanted.threads;
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

Handle<OrtSessionOptions> make_session_options(const Library& library,
                                               const Environment& environment,
                                               const GraphOptions& wanted) {
  const OrtApi& api = library.api();
  OrtSessionOptions* raw = nullptr;
  library.require(api.CreateSessionOptions(&raw), "session options");
  Handle<OrtSessionOptions> options(raw, api.ReleaseSessionOptions);
  const auto set = [&](OrtStatus* status) { library.require(status, "to take a session option"); };
  set(api.SetSessionExecutionMode(raw, ORT_SEQUENTIAL));
  set(api.SetSessionLogSeverityLevel(raw, ORT_LOGGING_LEVEL_WARNING));
  set(api.SetSessionGraphOptimizationLevel(raw, ORT_ENABLE_ALL));
  set_threads(library, environment, threads_of(wanted), raw);
  library.add_custom_ops(raw);
  add_device(library, raw, wanted.device);
  return options;
}

}  // namespace parley::ort
