// Collects parley's own operators in one domain; knows none of them beyond its name.
#include "runners/ort/custom_ops.h"

#include "runners/ort/conv1d_op.h"
#include "runners/ort/snakebeta_op.h"

namespace parley::ort {

Status* make_custom_ops(const void* table, CustomOpDomain** out) {
  const auto create = at_slot<Status* (*)(const char*, CustomOpDomain**)>(table, 26);
  const auto add = at_slot<Status* (*)(CustomOpDomain*, const CustomOp*)>(table, 27);
  const auto release = at_slot<void (*)(CustomOpDomain*)>(table, 101);
  if (Status* status = create("parley", out); status != nullptr) return status;
  std::vector<const CustomOp*> ops = snakebeta_ops();
  ops.push_back(conv1d_op());
  for (const CustomOp* op : ops) {
    Status* status = add(*out, op);
    if (status == nullptr) continue;
    release(*out);
    return status;
  }
  return nullptr;
}

Status* add_custom_ops(const void* table, SessionOptions* options, CustomOpDomain* domain) {
  return at_slot<Status* (*)(SessionOptions*, CustomOpDomain*)>(table, 28)(options, domain);
}

const std::vector<std::string>& custom_op_names() {
  static const std::vector<std::string> names{"parley.Conv1d", "parley.SnakeBeta"};
  return names;
}

}  // namespace parley::ort
