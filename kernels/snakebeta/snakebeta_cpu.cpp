// Snakebeta on a CPU, written for the compiler's vectorizer; knows no instruction set by name.
//
// With the taps f, the doubled signal u has two phases at the input's rate:
//   u[2n] = 2 sum_j f[2j+1] x[n+2-j],  u[2n+1] = 2 sum_j f[2j] x[n+3-j],  j = 0..5
// and with s = snake(u):
//   out[n] = sum_j f[2j+1] s[2(n-2+j)] + f[2j] s[2(n-3+j)+1].
// The backward pass is the transposed of each, with what falls off an edge added to the edge.
#include "kernels/snakebeta/snakebeta.h"

#include <cmath>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(SNAKEBETA_NATIVE)
#define MANY_PROCESSORS \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MANY_PROCESSORS
#endif
#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#else
#define INLINE inline
#endif

namespace {

constexpr size_t kEdge = 3;    // samples repeated on either side
constexpr size_t kLanes = 16;  // partial sums, so that the compiler may add them side by side
constexpr float kEpsilon = 1e-9F;
constexpr float kPi = 3.14159265358979F;

// Kaiser-windowed sinc, sum 1; symmetric.
constexpr float kTaps[12] = {2.028966555e-03F,  9.389463812e-03F, -2.554346435e-02F,
                             -5.765737593e-02F, 1.285726130e-01F, 4.432097971e-01F,
                             4.432097971e-01F,  1.285726130e-01F, -5.765737593e-02F,
                             -2.554346435e-02F, 9.389463812e-03F, 2.028966555e-03F};

struct Snake {
  float rate;  // e^alpha
  float gain;  // 1 / (e^beta + epsilon)
};

// sin(pi r) and cos(pi r) of the remainder r in -0.5..0.5 of y / pi. Their signs are those of the
// remainder, which squares and products of both don't see.
struct Wave {
  float sine, cosine;
};

INLINE Wave wave_of(float y) {
  // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a library call.
  constexpr float kRound = 12582912.0F;
  const float turns = y * (1 / kPi);
  const float whole = (turns + kRound) - kRound;
  // pi in three parts: the products with small integers are exact.
  float r = y - whole * 3.140625F;
  r -= whole * 9.67502593994140625e-4F;
  r -= whole * 1.509957990978376432e-7F;
  const float q = r * r;
  const float sine =
      r * (1 + q * (-1.66666567e-1F +
                    q * (8.33282642e-3F + q * (-1.98092410e-4F + q * 2.60083510e-6F))));
  const float cosine =
      1 + q * (-0.5F + q * (4.16666418e-2F +
                            q * (-1.38883787e-3F + q * (2.47604979e-5F - q * 2.61126259e-7F))));
  return {sine, cosine};
}

// A signal of n samples with kEdge places before and behind it.
INLINE void repeat_edges(float* x, size_t n, float first, float last) {
  for (size_t i = 0; i < kEdge; ++i) {
    x[i] = first;
    x[kEdge + n + i] = last;
  }
}

// Both phases of the doubled rate from x [kEdge + n + kEdge]: even and odd [n].
INLINE void double_rate(const float* __restrict x, size_t n, float scale, float* __restrict even,
                        float* __restrict odd) {
  for (size_t i = 0; i < n; ++i) {
    float e = 0, o = 0;
    for (size_t j = 0; j < 6; ++j) {
      e += kTaps[2 * j + 1] * x[i + 5 - j];
      o += kTaps[2 * j] * x[i + 6 - j];
    }
    even[i] = scale * e;
    odd[i] = scale * o;
  }
}

// The sum of both phases' filters from even and odd [kEdge + n + kEdge] to out [n].
INLINE void halve_rate(const float* __restrict even, const float* __restrict odd, size_t n,
                       float scale, float* __restrict out) {
  for (size_t i = 0; i < n; ++i) {
    float sum = 0;
    for (size_t j = 0; j < 6; ++j) {
      sum += kTaps[2 * j + 1] * even[i + 1 + j] + kTaps[2 * j] * odd[i + j];
    }
    out[i] = scale * sum;
  }
}

INLINE void apply(Snake snake, size_t n, float* __restrict u) {
  for (size_t i = 0; i < n; ++i) {
    const float sine = wave_of(u[i] * snake.rate).sine;
    u[i] += snake.gain * (sine * sine);
  }
}

// Turns the gradient of s into that of u, and adds up those of the rate and the gain.
INLINE void apply_backward(Snake snake, size_t n, const float* __restrict u, float* __restrict grad,
                           float* __restrict rate_sums, float* __restrict gain_sums) {
  const auto one = [&](size_t i, size_t lane) {
    const Wave wave = wave_of(u[i] * snake.rate);
    const float slope = snake.gain * (2 * wave.sine * wave.cosine);
    rate_sums[lane] += grad[i] * slope * u[i];
    gain_sums[lane] += grad[i] * (wave.sine * wave.sine);
    grad[i] += grad[i] * slope * snake.rate;
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) one(i + lane, lane);
  }
  for (; i < n; ++i) one(i, 0);
}

INLINE float sum(const float* lanes) {
  float total = 0;
  for (size_t i = 0; i < kLanes; ++i) total += lanes[i];
  return total;
}

INLINE Snake snake_of(float alpha, float beta) {
  return {std::exp(alpha), 1 / (std::exp(beta) + kEpsilon)};
}

struct Rows {
  float *x, *even, *odd, *even_grad, *odd_grad;
};

// Two edges more than needed per row, since the transposed filters run over the edges as well.
size_t row_size(size_t samples) {
  return samples + 4 * kEdge;
}

Rows rows_of(float* scratch, size_t samples) {
  const size_t row = row_size(samples);
  return {scratch, scratch + row, scratch + 2 * row, scratch + 3 * row, scratch + 4 * row};
}

INLINE void copy(const float* __restrict from, size_t n, float* __restrict to) {
  for (size_t i = 0; i < n; ++i) to[i] = from[i];
}

INLINE void pad_input(const float* x, size_t n, float* padded) {
  copy(x, n, padded + kEdge);
  repeat_edges(padded, n, x[0], x[n - 1]);
}

MANY_PROCESSORS void forward_row(const float* x, Snake snake, size_t n, const Rows& rows,
                                 float* out) {
  pad_input(x, n, rows.x);
  double_rate(rows.x, n, 2, rows.even + kEdge, rows.odd + kEdge);
  apply(snake, n, rows.even + kEdge);
  apply(snake, n, rows.odd + kEdge);
  const float first = rows.even[kEdge], last = rows.odd[kEdge + n - 1];
  repeat_edges(rows.even, n, first, last);
  repeat_edges(rows.odd, n, first, last);
  halve_rate(rows.even, rows.odd, n, 1, out);
}

// Adds what lies on the edges before and behind [n] to `first` and `last`.
INLINE void fold_edges(const float* x, size_t n, float& first, float& last) {
  for (size_t i = 0; i < kEdge; ++i) {
    first += x[i];
    last += x[kEdge + n + i];
  }
}

// Adds to `sums`: the gradients of the rate and the gain.
MANY_PROCESSORS void backward_row(const float* x, Snake snake, const float* grad_out, size_t n,
                                  const Rows& rows, float* grad_x, float* sums) {
  // The transposed of halve_rate is double_rate without its factor, over the edges too.
  float* padded = rows.x;
  for (size_t i = 0; i < 2 * kEdge; ++i) padded[i] = padded[2 * kEdge + n + i] = 0;
  copy(grad_out, n, padded + 2 * kEdge);
  double_rate(padded, n + 2 * kEdge, 1, rows.even_grad, rows.odd_grad);
  fold_edges(rows.even_grad, n, rows.even_grad[kEdge], rows.odd_grad[kEdge + n - 1]);
  fold_edges(rows.odd_grad, n, rows.even_grad[kEdge], rows.odd_grad[kEdge + n - 1]);

  pad_input(x, n, rows.x);
  double_rate(rows.x, n, 2, rows.even, rows.odd);
  float rate_sums[kLanes] = {}, gain_sums[kLanes] = {};
  apply_backward(snake, n, rows.even, rows.even_grad + kEdge, rate_sums, gain_sums);
  apply_backward(snake, n, rows.odd, rows.odd_grad + kEdge, rate_sums, gain_sums);
  sums[0] += sum(rate_sums);
  sums[1] += sum(gain_sums);

  // The transposed of double_rate likewise: 2 kEdge zeros around, kEdge of them in place.
  float *even = rows.even, *odd = rows.odd;
  for (size_t i = 0; i < 2 * kEdge; ++i) {
    even[i] = even[2 * kEdge + n + i] = odd[i] = odd[2 * kEdge + n + i] = 0;
  }
  copy(rows.even_grad + kEdge, n, even + 2 * kEdge);
  copy(rows.odd_grad + kEdge, n, odd + 2 * kEdge);
  halve_rate(even, odd, n + 2 * kEdge, 2, rows.x);
  fold_edges(rows.x, n, rows.x[kEdge], rows.x[kEdge + n - 1]);
  copy(rows.x + kEdge, n, grad_x);
}

}  // namespace

extern "C" {

size_t snakebeta_scratch(size_t samples) {
  return 5 * row_size(samples);
}

void snakebeta_forward(const float* x, const float* alpha, const float* beta, size_t batch,
                       size_t channels, size_t samples, float* scratch, float* out) {
  const Rows rows = rows_of(scratch, samples);
  for (size_t row = 0; row < batch * channels; ++row) {
    const Snake snake = snake_of(alpha[row % channels], beta[row % channels]);
    forward_row(x + row * samples, snake, samples, rows, out + row * samples);
  }
}

void snakebeta_backward(const float* x, const float* alpha, const float* beta,
                        const float* grad_out, size_t batch, size_t channels, size_t samples,
                        float* scratch, float* grad_x, float* grad_alpha, float* grad_beta) {
  const Rows rows = rows_of(scratch, samples);
  for (size_t row = 0; row < batch * channels; ++row) {
    const size_t c = row % channels, at = row * samples;
    const Snake snake = snake_of(alpha[c], beta[c]);
    float sums[2] = {0, 0};
    backward_row(x + at, snake, grad_out + at, samples, rows, grad_x + at, sums);
    grad_alpha[c] += sums[0] * snake.rate;
    grad_beta[c] -= sums[1] * snake.gain * snake.gain * std::exp(beta[c]);
  }
}

}  // extern "C"
