// parley's own operators for ONNX Runtime; knows no graph and no session.
#pragma once
#include <string>
#include <vector>

#include "runners/ort/api.h"

namespace parley::ort {

// A domain that holds every operator, to be added to session options. It must outlive the sessions;
// nobody releases it.
OrtStatus* make_custom_ops(const OrtApi& api, OrtCustomOpDomain** out);

// "domain.Name" of each operator, as manifests name them.
const std::vector<std::string>& custom_op_names();

}  // namespace parley::ort
