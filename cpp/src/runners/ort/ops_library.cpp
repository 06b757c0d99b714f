// The entry of libparley_ops: parley's operators for any program that runs ONNX Runtime.
#include <string>

#include "runners/ort/custom_ops.h"
#include "runners/ort/forms.h"

#define PARLEY_EXPORT extern "C" __attribute__((visibility("default")))

// What SessionOptions::register_custom_ops_library calls.
PARLEY_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(ORT_API_VERSION);
  if (api == nullptr) {
    return base->GetApi(1)->CreateStatus(
        ORT_FAIL,
        "[ops.register] expected ONNX Runtime 1.29 or later, got an older one; upgrade it");
  }
  // A few hundred bytes that stay, since any session may use them until the process ends.
  OrtCustomOpDomain* domain = nullptr;
  OrtStatus* status = parley::ort::make_custom_ops(*api, &domain);
  return status == nullptr ? api->AddCustomOpDomain(options, domain) : status;
}

// What Forms::text() and read() say, of the operators in this library; the text is valid until the
// thread's next call.
PARLEY_EXPORT const char* parley_kernel_forms() {
  thread_local std::string text;
  text = parley::ort::forms().text();
  return text.c_str();
}

PARLEY_EXPORT void parley_set_kernel_forms(const char* text) {
  parley::ort::forms().read(text);
}
