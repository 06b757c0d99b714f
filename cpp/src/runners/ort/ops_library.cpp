// The entry of libparley_ops: parley's operators for any program that runs ONNX Runtime.
#include "runners/ort/custom_ops.h"

#define PARLEY_EXPORT extern "C" __attribute__((visibility("default")))

// What SessionOptions::register_custom_ops_library calls.
PARLEY_EXPORT parley::ort::Status* RegisterCustomOps(parley::ort::SessionOptions* options,
                                                     const parley::ort::ApiBase* base) {
  using namespace parley::ort;
  const void* table = base->get_api(kApiVersion);
  if (table == nullptr) {
    const auto create_status = at_slot<Status* (*)(int, const char*)>(base->get_api(1), 0);
    return create_status(kEngineError,
                         "[ops.register] expected ONNX Runtime 1.29 or later, got an older one; "
                         "do upgrade it");
  }
  // A few hundred bytes that stay, since any session may use them until the process ends.
  CustomOpDomain* domain = nullptr;
  Status* status = make_custom_ops(table, &domain);
  return status == nullptr ? add_custom_ops(table, options, domain) : status;
}
