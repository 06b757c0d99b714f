// Adds up the squares that each column of a weight is multiplied with.
#include "runners/llama/importance.h"

#include <string_view>

namespace parley::llama {

namespace {

// A product of a weight of the file, not of keys or values.
bool is_weighing(const ggml_tensor& node) {
  if (node.op != GGML_OP_MUL_MAT || node.src[0] == nullptr || node.src[1] == nullptr) return false;
  return std::string_view(node.src[0]->name).ends_with(".weight") &&
         node.src[1]->type == GGML_TYPE_F32;
}

}  // namespace

bool ImportanceSums::see(ggml_tensor* node, bool ask, void* self) {
  if (ask) return is_weighing(*node);
  if (is_weighing(*node)) static_cast<ImportanceSums*>(self)->add(*node);
  return true;
}

void ImportanceSums::add(const ggml_tensor& node) {
  const ggml_tensor& read = *node.src[1];
  const auto columns = static_cast<std::size_t>(read.ne[0]);
  const std::lock_guard<std::mutex> lock(mutex_);
  Sum& sum = sums_[node.src[0]->name];
  sum.columns.resize(columns);
  const char* data = static_cast<const char*>(read.data);
  for (std::int64_t k = 0; k < read.ne[2] * read.ne[3]; ++k) {
    const char* plane = data + static_cast<std::size_t>(k % read.ne[2]) * read.nb[2] +
                        static_cast<std::size_t>(k / read.ne[2]) * read.nb[3];
    for (std::int64_t row = 0; row < read.ne[1]; ++row, ++sum.rows) {
      const auto* values =
          reinterpret_cast<const float*>(plane + static_cast<std::size_t>(row) * read.nb[1]);
      for (std::size_t i = 0; i < columns; ++i)
        sum.columns[i] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
  }
}

std::vector<Importance> ImportanceSums::means() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Importance> means;
  for (const auto& [name, sum] : sums_) {
    Importance one{name, {}};
    for (double squares : sum.columns)
      one.columns.push_back(static_cast<float>(squares / static_cast<double>(sum.rows)));
    means.push_back(std::move(one));
  }
  return means;
}

}  // namespace parley::llama
