// Adds up the squares that each column of a weight is multiplied with; knows no model.
#pragma once
#include <ggml.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "runners/runner.h"

namespace parley::llama {

// What llama.cpp's quantizer takes as an importance matrix. Thread-safe.
class ImportanceSums {
 public:
  // llama.cpp's callback for the nodes of a pass, `self` being an ImportanceSums: wants the
  // products of weights, and adds up what they read. In host memory.
  static bool see(ggml_tensor* node, bool ask, void* self);

  std::vector<Importance> means() const;

 private:
  struct Sum {
    std::vector<double> columns;
    std::size_t rows = 0;
  };
  void add(const ggml_tensor& node);

  mutable std::mutex mutex_;
  std::map<std::string, Sum> sums_;
};

}  // namespace parley::llama
