// An ONNX Runtime that is too old: it has no table of the version we ask for. Computes nothing.
#include <cstdint>

namespace {
struct ApiBase {
  const void* (*get_api)(std::uint32_t);
  const char* (*version)();
};
const void* get_api(std::uint32_t) {
  return nullptr;
}
const char* version() {
  return "1.20.3";
}
const ApiBase base{get_api, version};
}  // namespace

extern "C" const ApiBase* OrtGetApiBase() {
  return &base;
}
