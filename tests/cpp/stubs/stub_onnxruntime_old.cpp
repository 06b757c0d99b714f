// An ONNX Runtime that is too old: it has no table of the version we ask for. Computes nothing.
#include <onnxruntime_c_api.h>

namespace {
const OrtApi* get_api(uint32_t) noexcept {
  return nullptr;
}
const char* version() noexcept {
  return "1.20.3";
}
const OrtApiBase base{get_api, version};
}  // namespace

extern "C" const OrtApiBase* OrtGetApiBase() noexcept {
  return &base;
}
