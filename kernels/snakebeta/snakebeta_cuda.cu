// Snakebeta forward on a GPU: one block per tile of a row; knows no CPU form.
#include "kernels/snakebeta/snakebeta_cuda.h"

namespace snakebeta {
namespace {

__global__ void __launch_bounds__(kThreads)
    forward(Grid grid, const float* __restrict__ x, const float* __restrict__ alpha,
            const float* __restrict__ beta, float* __restrict__ out) {
  __shared__ Shared shared;
  const Block block = grid.block(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x);
  for (int step = 0; step < kSteps; ++step) {
    block.run(step, thread, x, alpha, beta, shared, out);
    __syncthreads();
  }
}

}  // namespace
}  // namespace snakebeta

extern "C" const char* parley_snakebeta_forward_cuda(const parley_snakebeta_window* window, const float* x,
                                              const float* alpha, const float* beta, size_t rows,
                                              float* out, void* stream) {
  const snakebeta::Grid grid(*window);
  const int64_t blocks = grid.tiles() * static_cast<int64_t>(rows);
  if (blocks == 0) return nullptr;
  if (blocks > INT32_MAX) return "more than 2^31 tiles";
  snakebeta::forward<<<static_cast<unsigned>(blocks), snakebeta::kThreads, 0,
                       static_cast<cudaStream_t>(stream)>>>(grid, x, alpha, beta, out);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
