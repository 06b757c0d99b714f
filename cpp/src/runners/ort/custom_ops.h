// parley's own operators for ONNX Runtime, without vendor headers; knows no graph and no session.
#pragma once
#include <string>
#include <vector>

#include "runners/ort/api.h"

namespace parley::ort {

struct CustomOpDomain;  // owned by the library

// A domain that holds every operator, to be added to session options. `table` is the library's (of
// kApiVersion or later). The domain must outlive the sessions; nobody releases it.
Status* make_custom_ops(const void* table, CustomOpDomain** out);
Status* add_custom_ops(const void* table, SessionOptions* options, CustomOpDomain* domain);

// "domain.Name" of each operator, as manifests name them.
const std::vector<std::string>& custom_op_names();

}  // namespace parley::ort
