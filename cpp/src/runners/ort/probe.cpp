// A graph of one node that is opened and run to see what an ONNX Runtime can do; knows no model.
#include "runners/ort/probe.h"

#include <string_view>

#include "parley/errors.hpp"
#include "runners/ort/devices.h"
#include "runners/ort/session_options.h"

namespace parley::ort {
namespace {

// An ONNX file: y = x + x, both f32 [1]; IR version 8, operator set 14.
constexpr std::string_view kGraph(
    "\x08\x08:5\n\x0e\n\x01x\n\x01x\x12\x01y\"\x03"
    "Add\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01"
    "b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01"
    "B\x04\n\0\x10\x0e",
    63);

Failure open(const Library& library, const OrtEnv* env, const OrtSessionOptions* options,
             Handle<OrtSession>& session) {
  OrtSession* raw = nullptr;
  clear_log();
  const Failure failure = library.take(
      library.api().CreateSessionFromArray(env, kGraph.data(), kGraph.size(), options, &raw));
  session = Handle<OrtSession>(raw, library.api().ReleaseSession);
  return failure;
}

// The graph's y for this x; `failure` says what went wrong.
float run(const Library& library, OrtSession* session, float x, Failure& failure) {
  const OrtApi& api = library.api();
  const std::int64_t dims[] = {1};
  float y = 0.0F;
  OrtValue* values[2] = {};
  float* const memory[] = {&x, &y};
  for (int i = 0; i < 2 && failure.code == 0; ++i) {
    failure = library.take(
        api.CreateTensorWithDataAsOrtValue(library.cpu_memory(), memory[i], sizeof(float), dims, 1,
                                           ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &values[i]));
  }
  const Handle<OrtValue> in(values[0], api.ReleaseValue), out(values[1], api.ReleaseValue);
  const char* const x_name = "x";
  const char* const y_name = "y";
  if (failure.code == 0)
    failure =
        library.take(api.Run(session, nullptr, &x_name, &values[0], 1, &y_name, 1, &values[1]));
  return y;
}

}  // namespace

bool has_shared_pool(const Library& library, const OrtEnv* env) {
  const OrtApi& api = library.api();
  OrtSessionOptions* raw = nullptr;
  library.require(api.CreateSessionOptions(&raw), "session options");
  const Handle<OrtSessionOptions> options(raw, api.ReleaseSessionOptions);
  library.require(api.DisablePerSessionThreads(raw), "to take a session option");
  Handle<OrtSession> session(nullptr, api.ReleaseSession);
  return open(library, env, raw, session).code == 0;
}

}  // namespace parley::ort

namespace parley {

void try_onnxruntime_device(const std::string& path, const std::string& device) {
  using namespace ort;
  const Library& library = Library::open(path);
  const auto environment = library.environment(1);
  const auto options =
      make_session_options(library, *environment, {.device = device, .threads = 1});
  if (device != "cpu") {
    library.require(
        library.api().AddSessionConfigEntry(options.get(), "session.disable_cpu_ep_fallback", "1"),
        "to take a session option");
  }
  Handle<OrtSession> session(nullptr, library.api().ReleaseSession);
  Failure failure = open(library, environment->env.get(), options.get(), session);
  const float y = failure.code == 0 ? run(library, session.get(), 1.5F, failure) : 0.0F;
  if (failure.code == 0 && y != 3.0F) failure = {-1, "1.5 + 1.5 = " + std::to_string(y)};
  if (failure.code != 0) refuse_device(library, device, failure);
}

}  // namespace parley
