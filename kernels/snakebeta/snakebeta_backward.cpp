// Gradients of the snakebeta activation, written for the compiler's vectorizer; knows no processor.
//
// The transposed of each step of the forward pass, with what falls off an edge added to the edge.
#include "kernels/snakebeta/snakebeta_tile.h"

namespace snakebeta {
namespace {

constexpr size_t kLanes = 16;  // partial sums, so that the compiler may add them side by side
constexpr size_t kBorder = kEdge;

// Both phases of the doubled rate from x [kBorder + n + kBorder]: even and odd [n].
void double_rate(const float* __restrict x, size_t n, float scale, float* __restrict even,
                 float* __restrict odd) {
  for (size_t i = 0; i < n; ++i) {
    float e = 0, o = 0;
    for (int j = 0; j < 6; ++j) {
      e += tap(2 * j + 1) * x[i + 5 - j];
      o += tap(2 * j) * x[i + 6 - j];
    }
    even[i] = scale * e;
    odd[i] = scale * o;
  }
}

// The sum of both phases' filters from even and odd [kBorder + n + kBorder] to out [n].
void halve_rate(const float* __restrict even, const float* __restrict odd, size_t n, float scale,
                float* __restrict out) {
  for (size_t i = 0; i < n; ++i) {
    float sum = 0;
    for (int j = 0; j < 6; ++j) {
      sum += tap(2 * j + 1) * even[i + 1 + j] + tap(2 * j) * odd[i + j];
    }
    out[i] = scale * sum;
  }
}

// Turns the gradient of s into that of u, and adds up those of the rate and the gain.
void apply_backward(Snake snake, size_t n, const float* __restrict u, float* __restrict grad,
                    float* __restrict rate_sums, float* __restrict gain_sums) {
  const auto one = [&](size_t i, size_t lane) {
    const float angle = remainder_of_pi(u[i] * snake.rate);
    const float sine = sine_of(angle);
    const float slope = snake.gain * (2 * sine * cosine_of(angle));
    rate_sums[lane] += grad[i] * slope * u[i];
    gain_sums[lane] += grad[i] * (sine * sine);
    grad[i] += grad[i] * slope * snake.rate;
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) one(i + lane, lane);
  }
  for (; i < n; ++i) one(i, 0);
}

float sum(const float* lanes) {
  float total = 0;
  for (size_t i = 0; i < kLanes; ++i) total += lanes[i];
  return total;
}

struct Rows {
  float *x, *even, *odd, *even_grad, *odd_grad;
};

// Two edges more than needed per row, since the transposed filters run over the edges as well.
size_t row_size(size_t samples) {
  return samples + 4 * kBorder;
}

Rows rows_of(float* scratch, size_t samples) {
  const size_t row = row_size(samples);
  return {scratch, scratch + row, scratch + 2 * row, scratch + 3 * row, scratch + 4 * row};
}

void copy(const float* from, size_t n, float* to) {
  memcpy(to, from, n * sizeof(float));
}

// Adds what lies on the borders before and behind [n] to `first` and `last`.
void fold_edges(const float* x, size_t n, float& first, float& last) {
  for (size_t i = 0; i < kBorder; ++i) {
    first += x[i];
    last += x[kBorder + n + i];
  }
}

// Adds to `sums`: the gradients of the rate and the gain.
void backward_row(const float* x, Snake snake, const float* grad_out, size_t n, const Rows& rows,
                  float* grad_x, float* sums) {
  // The transposed of halve_rate is double_rate without its factor, over the edges too.
  float* padded = rows.x;
  for (size_t i = 0; i < 2 * kBorder; ++i) padded[i] = padded[2 * kBorder + n + i] = 0;
  copy(grad_out, n, padded + 2 * kBorder);
  double_rate(padded, n + 2 * kBorder, 1, rows.even_grad, rows.odd_grad);
  fold_edges(rows.even_grad, n, rows.even_grad[kBorder], rows.odd_grad[kBorder + n - 1]);
  fold_edges(rows.odd_grad, n, rows.even_grad[kBorder], rows.odd_grad[kBorder + n - 1]);

  copy(x, n, padded + kBorder);
  for (size_t i = 0; i < kBorder; ++i) {
    padded[i] = x[0];
    padded[kBorder + n + i] = x[n - 1];
  }
  double_rate(padded, n, 2, rows.even, rows.odd);
  float rate_sums[kLanes] = {}, gain_sums[kLanes] = {};
  apply_backward(snake, n, rows.even, rows.even_grad + kBorder, rate_sums, gain_sums);
  apply_backward(snake, n, rows.odd, rows.odd_grad + kBorder, rate_sums, gain_sums);
  sums[0] += sum(rate_sums);
  sums[1] += sum(gain_sums);

  // The transposed of double_rate likewise: 2 kBorder zeros around, kBorder of them in place.
  float *even = rows.even, *odd = rows.odd;
  for (size_t i = 0; i < 2 * kBorder; ++i) {
    even[i] = even[2 * kBorder + n + i] = odd[i] = odd[2 * kBorder + n + i] = 0;
  }
  copy(rows.even_grad + kBorder, n, even + 2 * kBorder);
  copy(rows.odd_grad + kBorder, n, odd + 2 * kBorder);
  halve_rate(even, odd, n + 2 * kBorder, 2, rows.x);
  fold_edges(rows.x, n, rows.x[kBorder], rows.x[kBorder + n - 1]);
  copy(rows.x + kBorder, n, grad_x);
}

}  // namespace
}  // namespace snakebeta

extern "C" {

size_t parley_snakebeta_backward_scratch(size_t samples) {
  return 5 * snakebeta::row_size(samples);
}

void parley_snakebeta_backward(const float* x, const float* alpha, const float* beta,
                               const float* grad_out, size_t batch, size_t channels, size_t samples,
                               float* scratch, float* grad_x, float* grad_alpha, float* grad_beta) {
  const snakebeta::Rows rows = snakebeta::rows_of(scratch, samples);
  for (size_t row = 0; row < batch * channels; ++row) {
    const size_t c = row % channels, at = row * samples;
    const snakebeta::Snake snake = snakebeta::snake_of(alpha[c], beta[c]);
    float sums[2] = {0, 0};
    snakebeta::backward_row(x + at, snake, grad_out + at, samples, rows, grad_x + at, sums);
    grad_alpha[c] += sums[0] * snake.rate;
    grad_beta[c] -= sums[1] * snake.gain * snake.gain * expf(beta[c]);
  }
}

}  // extern "C"
