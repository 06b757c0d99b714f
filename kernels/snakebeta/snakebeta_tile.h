// The arithmetic of one tile of outputs, for numbers and vectors alike; knows no processor.
//
// With the taps f, the doubled signal u has two phases at the input's rate:
//   u[2n] = 2 sum_j f[2j+1] x[n+2-j],  u[2n+1] = 2 sum_j f[2j] x[n+3-j],  j = 0..5
// and with s = snake(u):
//   out[n] = sum_j f[2j+1] s[2(n-2+j)] + f[2j] s[2(n-3+j)+1].
// Every step below goes over its elements from `begin` by `step`: a CPU takes one vector V after
// another, a GPU's threads one number each with a barrier after every step.
#ifndef PARLEY_KERNELS_SNAKEBETA_TILE_H
#define PARLEY_KERNELS_SNAKEBETA_TILE_H

#include <math.h>
#include <string.h>

#include "kernels/snakebeta/snakebeta.h"

#if defined(__CUDACC__)
#define SNAKEBETA_INLINE __host__ __device__ __forceinline__
#else
#define SNAKEBETA_INLINE inline __attribute__((always_inline))
#endif

namespace snakebeta {

constexpr int kEdge = 3;                // samples that one filter sees before and after
constexpr int kTile = 256 - 2 * kEdge;  // outputs; with the edges 256 places of the doubled rate
constexpr int kSpare = 32;              // a last vector may run so far over
constexpr int kInputs = kTile + 4 * kEdge;

// Kaiser-windowed sinc, sum 1; symmetric.
SNAKEBETA_INLINE constexpr float tap(int k) {
  constexpr float half[6] = {2.028966555e-03F,  9.389463812e-03F, -2.554346435e-02F,
                             -5.765737593e-02F, 1.285726130e-01F, 4.432097971e-01F};
  return half[k < 6 ? k : 11 - k];
}

struct Snake {
  float rate;  // e^alpha
  float gain;  // 1 / (e^beta + 1e-9)
};

SNAKEBETA_INLINE Snake snake_of(float alpha, float beta) {
  return {expf(alpha), 1 / (expf(beta) + 1e-9F)};
}

// y less the nearest multiple of pi, in -pi/2..pi/2.
template <class V>
SNAKEBETA_INLINE V remainder_of_pi(V y) {
  // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a library call.
  constexpr float kRound = 12582912.0F;
  const V whole = (y * 0.318309886F + kRound) - kRound;
  // pi in three parts: the products with small integers are exact.
  V r = y - whole * 3.140625F;
  r = r - whole * 9.67502593994140625e-4F;
  return r - whole * 1.509957990978376432e-7F;
}

// sin(r)^2's root and, for its slope, the cosine: signs aside, those of any y of this remainder.
template <class V>
SNAKEBETA_INLINE V sine_of(V r) {
  const V q = r * r;
  return r * (1 + q * (-1.66666567e-1F +
                       q * (8.33282642e-3F + q * (-1.98092410e-4F + q * 2.60083510e-6F))));
}

template <class V>
SNAKEBETA_INLINE V cosine_of(V r) {
  const V q = r * r;
  return 1 + q * (-0.5F + q * (4.16666418e-2F +
                               q * (-1.38883787e-3F + q * (2.47604979e-5F - q * 2.61126259e-7F))));
}

template <class V>
SNAKEBETA_INLINE V apply(V u, Snake snake) {
  const V sine = sine_of(remainder_of_pi(u * snake.rate));
  return u + snake.gain * (sine * sine);
}

template <class V>
SNAKEBETA_INLINE V load(const float* from) {
  V v;
  memcpy(&v, from, sizeof v);
  return v;
}

// A window of one row, and the n <= kTile outputs from position `at` on, all of the signal.
struct Tile {
  int64_t at, first, end, samples;
  int n;

  // Step 1 fills x with this many places, from position at - 2 kEdge on.
  SNAKEBETA_INLINE int inputs() const { return n + 4 * kEdge; }
  SNAKEBETA_INLINE int64_t lowest() const { return first > 0 ? first : 0; }
  SNAKEBETA_INLINE int64_t highest() const { return (end < samples ? end : samples) - 1; }

  SNAKEBETA_INLINE void fill(const float* row, int begin, int step, float* x) const {
    for (int i = begin; i < inputs(); i += step) {
      const int64_t place = at - 2 * kEdge + i;
      x[i] = row[place < lowest() ? lowest() : place > highest() ? highest() : place];
    }
  }

  // Step 2: the doubled signal's phases from position at - kEdge on, through the snake.
  template <class V>
  SNAKEBETA_INLINE void double_rate(const float* x, Snake snake, int begin, int step, float* even,
                                    float* odd) const {
    for (int i = begin; i < n + 2 * kEdge; i += step) {
      V e{}, o{};
      for (int j = 0; j < 6; ++j) {
        e = e + 2 * tap(2 * j + 1) * load<V>(x + i + 5 - j);
        o = o + 2 * tap(2 * j) * load<V>(x + i + 6 - j);
      }
      e = apply(e, snake);
      o = apply(o, snake);
      memcpy(even + i, &e, sizeof e);
      memcpy(odd + i, &o, sizeof o);
    }
  }

  // Step 3: the doubled signal's own edges, at most kEdge places on either side.
  SNAKEBETA_INLINE void repeat_edges(int begin, int step, float* even, float* odd) const {
    const int before = static_cast<int>(first > at - kEdge ? first - (at - kEdge) : 0);
    for (int i = begin; i < before; i += step) even[i] = odd[i] = even[before];
    const int places = n + 2 * kEdge;
    const int inside = static_cast<int>(end < at + n + kEdge ? end - (at - kEdge) : places);
    for (int i = inside + begin; i < places; i += step) even[i] = odd[i] = odd[inside - 1];
  }

  // Step 4.
  template <class V>
  SNAKEBETA_INLINE void halve_rate(const float* even, const float* odd, int begin, int step,
                                   float* out) const {
    constexpr int kLanes = sizeof(V) / sizeof(float);
    for (int i = begin; i < n; i += step) {
      V e{}, o{};
      for (int j = 0; j < 6; ++j) {
        e = e + tap(2 * j + 1) * load<V>(even + i + 1 + j);
        o = o + tap(2 * j) * load<V>(odd + i + j);
      }
      e = e + o;
      if (n - i >= kLanes) {
        memcpy(out + i, &e, sizeof e);
      } else {
        memcpy(out + i, &e, (n - i) * sizeof(float));
      }
    }
  }
};

// Outputs begin .. end - 1 of a row are of the signal, the others zero.
struct Span {
  int64_t begin, end;
};

SNAKEBETA_INLINE Span outputs_of(const parley_snakebeta_window& w) {
  const auto low = static_cast<int64_t>(w.left);
  const auto high = static_cast<int64_t>(w.samples - w.right);
  const int64_t begin = w.first < low ? low : w.first < high ? w.first : high;
  return {begin, w.end < begin ? begin : w.end < high ? w.end : high};
}

}  // namespace snakebeta

#endif  // PARLEY_KERNELS_SNAKEBETA_TILE_H
