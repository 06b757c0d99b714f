// Copies arrays to a GPU, runs snakebeta there and copies the result back, for a test.
#include "kernels/snakebeta/snakebeta.h"

namespace {

struct OnDevice {
  float* data = nullptr;
  OnDevice(const float* from, size_t n) {
    cudaMalloc(&data, n * sizeof(float));
    if (from != nullptr) cudaMemcpy(data, from, n * sizeof(float), cudaMemcpyHostToDevice);
  }
  ~OnDevice() { cudaFree(data); }
};

}  // namespace

// `rows` a multiple of the window's channels.
extern "C" const char* snakebeta_on_device(const parley_snakebeta_window* window, const float* x,
                                           const float* alpha, const float* beta, size_t rows,
                                           float* out) {
  const size_t n_outputs = rows * (window->samples - window->left - window->right);
  const OnDevice inputs(x, rows * window->samples), outputs(nullptr, n_outputs);
  const OnDevice alphas(alpha, window->channels), betas(beta, window->channels);
  const char* failure = parley_snakebeta_forward_cuda(window, inputs.data, alphas.data, betas.data, rows,
                                               outputs.data, nullptr);
  if (failure != nullptr) return failure;
  cudaMemcpy(out, outputs.data, n_outputs * sizeof(float), cudaMemcpyDeviceToHost);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
