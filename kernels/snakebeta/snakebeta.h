// The alias-free snakebeta activation as plain C functions; knows no tensor type and no framework.
//
// Doubles the rate, applies x + sin(x e^alpha)^2 / (e^beta + 1e-9), halves the rate again. Both
// filters are the 12-tap Kaiser-windowed sinc (cutoff a quarter of the doubled rate, half width
// 0.3), and both signals repeat their edges. Source: alias-free activations (Karras et al., 2021)
// with the periodic snake (Ziyin et al., 2020) as in BigVGAN.
#ifndef PARLEY_KERNELS_SNAKEBETA_H
#define PARLEY_KERNELS_SNAKEBETA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Floats of `scratch` that a row of `samples` needs; the caller owns it, one per thread.
size_t snakebeta_scratch(size_t samples);

// `x` and `out` [batch, channels, samples] contiguous, `alpha` and `beta` [channels]; samples >= 1.
// `out` may be `x`.
void snakebeta_forward(const float* x, const float* alpha, const float* beta, size_t batch,
                       size_t channels, size_t samples, float* scratch, float* out);

// `grad_out` and `grad_x` [batch, channels, samples]; adds to `grad_alpha` and `grad_beta`
// [channels]. `grad_x` may be `grad_out`.
void snakebeta_backward(const float* x, const float* alpha, const float* beta,
                        const float* grad_out, size_t batch, size_t channels, size_t samples,
                        float* scratch, float* grad_x, float* grad_alpha, float* grad_beta);

#ifdef __cplusplus
}
#endif

#endif  // PARLEY_KERNELS_SNAKEBETA_H
