// The calls that the kernels of custom operators have in common; knows no operator.
#pragma once
#include <cstddef>
#include <cstdint>

#include "runners/ort/api.h"

namespace parley::ort {

// A tensor's memory and its first three dimensions.
struct Tensor {
  void* data;
  std::size_t count, rank;
  std::int64_t dims[3];
};

#define PARLEY_TRY(status) \
  if (OrtStatus* failed = (status); failed != nullptr) return failed

OrtStatus* read_tensor(const OrtApi& api, const OrtValue* value, Tensor& out);
OrtStatus* read_input(const OrtApi& api, const OrtKernelContext* context, std::size_t index,
                      Tensor& out);
// Makes the only output, [dims[0], dims[1], dims[2]]; `out` is its memory.
OrtStatus* make_output(const OrtApi& api, OrtKernelContext* context, const std::int64_t (&dims)[3],
                       OrtValue*& value, float*& out);
// "[op.verb] expected ..., got ...; export the graph again"
OrtStatus* complain(const OrtApi& api, const char* where, const char* expected, std::size_t got);
// An integer attribute; 0 where the node has none.
std::int64_t read_attribute(const OrtApi& api, const OrtKernelInfo* info, const char* name);

// What every operator of ours says: required inputs in the provider's memory, one float output.
OrtCustomOp make_custom_op();

}  // namespace parley::ort
