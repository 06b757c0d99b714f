// Collects parley's own operators in one domain; knows none of them beyond its name.
#include "runners/ort/custom_ops.h"

#include "runners/ort/conv1d_op.h"
#include "runners/ort/snakebeta_op.h"

namespace parley::ort {

OrtStatus* make_custom_ops(const OrtApi& api, OrtCustomOpDomain** out) {
  PARLEY_TRY(api.CreateCustomOpDomain("parley", out));
  std::vector<const OrtCustomOp*> ops = snakebeta_ops();
  ops.push_back(conv1d_op());
  for (const OrtCustomOp* op : ops) {
    OrtStatus* status = api.CustomOpDomain_Add(*out, op);
    if (status == nullptr) continue;
    api.ReleaseCustomOpDomain(*out);
    return status;
  }
  return nullptr;
}

const std::vector<std::string>& custom_op_names() {
  static const std::vector<std::string> names{"parley.Conv1d", "parley.SnakeBeta"};
  return names;
}

}  // namespace parley::ort
