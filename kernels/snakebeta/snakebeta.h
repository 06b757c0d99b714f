// The alias-free snakebeta activation as plain C functions; knows no tensor type and no framework.
//
// Doubles the rate, applies x + sin(x e^alpha)^2 / (e^beta + 1e-9), halves the rate again. Both
// filters are the 12-tap Kaiser-windowed sinc (cutoff a quarter of the doubled rate, half width
// 0.3), and both signals repeat their edges. Source: alias-free activations (Karras et al., 2021)
// with the periodic snake (Ziyin et al., 2020) as in BigVGAN.
#ifndef PARLEY_KERNELS_SNAKEBETA_H
#define PARLEY_KERNELS_SNAKEBETA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// An output depends on so many samples before its own, and on as many after it.
enum { SNAKEBETA_REACH = 5 };

// Rows `[batch, channels]` of x, `samples` each, are a window of longer signals: `first` is the
// position in the window of the signal's first sample, `end` of the one after its last; both may
// lie outside of it. Edges are repeated at `first` and `end`; a window that lacks samples of its
// signal within the reach of an output repeats its own edges in their place. The output holds the
// positions left .. samples - right - 1 of each row, zero where there is no signal (as before a
// causal convolution). A whole signal has first = left = right = 0 and end = samples.
typedef struct {
  size_t channels, samples;
  int64_t first, end;
  size_t left, right;
} parley_snakebeta_window;

// Rows begin_row .. end_row - 1 of `x` [batch, channels, samples] to the same rows of `out` [batch,
// channels, samples - left - right]; `alpha` and `beta` [channels]. Threads take rows of their own.
// `out` may not overlap `x`; samples >= 1.
void parley_snakebeta_forward(const parley_snakebeta_window* window, const float* x,
                              const float* alpha, const float* beta, size_t begin_row,
                              size_t end_row, float* out);

// Which version parley_snakebeta_forward runs here: "avx512", "avx2" or "portable".
const char* parley_snakebeta_version(void);

// The same for arrays in a GPU's memory, all `rows` of them, queued on a cudaStream_t. Returns null
// or what failed (memory of the CUDA runtime).
const char* parley_snakebeta_forward_cuda(const parley_snakebeta_window* window, const float* x,
                                          const float* alpha, const float* beta, size_t rows,
                                          float* out, void* stream);

// For training. Floats of `scratch` that a row of `samples` needs; the caller owns it.
size_t parley_snakebeta_backward_scratch(size_t samples);

// Whole signals: `x`, `grad_out` and `grad_x` [batch, channels, samples]; adds to `grad_alpha` and
// `grad_beta` [channels]. `grad_x` may be `grad_out`.
void parley_snakebeta_backward(const float* x, const float* alpha, const float* beta,
                               const float* grad_out, size_t batch, size_t channels, size_t samples,
                               float* scratch, float* grad_x, float* grad_alpha, float* grad_beta);

#ifdef __cplusplus
}
#endif

#endif  // PARLEY_KERNELS_SNAKEBETA_H
