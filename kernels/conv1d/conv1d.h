// One-dimensional convolution with bfloat16 products as plain C functions; knows no framework.
//
// Weights and inputs are rounded to bfloat16 (8 bits of fraction), products are added in float32.
// Direct: no matrix of shifted inputs is built. Every output adds its products in one order, so it
// does not depend on where a signal was cut.
#ifndef PARLEY_KERNELS_CONV1D_H
#define PARLEY_KERNELS_CONV1D_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// y[o, t] = bias[o] + sum over i, k of w[o, i, k] x[i, t + k dilation]; no padding, so an output
// row has samples - dilation (taps - 1) numbers, at least 0.
typedef struct {
  size_t in, out, taps, dilation;  // channels, and the kernel's size
  size_t samples;                  // of an input row
} parley_conv1d_shape;

// Output channels are computed in blocks of so many; threads take blocks of their own.
enum { CONV1D_BLOCK = 4 };

// 32-bit words of the packed weights and of the packed input; the caller owns both.
size_t parley_conv1d_weight_words(const parley_conv1d_shape* shape);
size_t parley_conv1d_input_words(const parley_conv1d_shape* shape);

// `weights` bfloat16 [out, in, taps], once per model.
void parley_conv1d_pack_weights(const parley_conv1d_shape* shape, const uint16_t* weights,
                                uint32_t* packed);

// Pairs begin .. end - 1 of the (in + 1) / 2 pairs of rows of `x` float32 [in, samples].
void parley_conv1d_pack_input(const parley_conv1d_shape* shape, const float* x, size_t begin,
                              size_t end, uint32_t* packed);

// Blocks begin .. end - 1 of the (out + 3) / 4 blocks of `y` [out, outputs]; `bias` [out].
void parley_conv1d_forward(const parley_conv1d_shape* shape, const uint32_t* weights,
                           const float* bias, const uint32_t* input, size_t begin, size_t end,
                           float* y);

// Which version parley_conv1d_forward runs here: "avx512bf16", "avx512", "avx2" or "portable". Only
// the first has instructions for such products; the others take as long as float32.
const char* parley_conv1d_version(void);

#ifdef __cplusplus
}
#endif

#endif  // PARLEY_KERNELS_CONV1D_H
