// The convolution on a CPU: tiles of 4 channels by up to 6 vectors in registers; knows no layer.
#include "kernels/conv1d/conv1d.h"

#include <string.h>

#include <algorithm>

#define CONV1D_INLINE inline __attribute__((always_inline))

namespace conv1d {
namespace {

constexpr size_t kBlock = CONV1D_BLOCK;
constexpr size_t kVectors = 6;  // of a tile, at most
constexpr size_t kSpare = 16;   // a last vector may read so far over its row

size_t outputs_of(const parley_conv1d_shape& s) {
  const size_t reach = s.dilation * (s.taps - 1);
  return s.samples > reach ? s.samples - reach : 0;
}

size_t pairs_of(const parley_conv1d_shape& s) {
  return (s.in + 1) / 2;
}

struct Call {
  const parley_conv1d_shape& shape;
  const uint32_t* weights;
  const float* bias;
  const uint32_t* input;
  size_t begin, end;
  float* y;
};

#include "kernels/conv1d/conv1d_tile.h"

void portable(const Call& call) {
  forward<Plain<4>>(call);
}

struct Version {
  const char* name;
  void (*forward)(const Call&);
};

#if defined(__x86_64__) && defined(__GNUC__)
#define CONV1D_VERSION_OF(name, features, ops)                    \
  __attribute__((target(features))) void name(const Call& call) { \
    forward<ops>(call);                                           \
  }
CONV1D_VERSION_OF(avx2, "avx2,fma", Plain<8>)
CONV1D_VERSION_OF(avx512, "avx512f,avx512vl,fma", Plain<16>)

// Anew, for clang takes no 512-bit operand of an asm in a function that is compiled for any
// processor; every function of the namespace is compiled for this one.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,fma")
#endif
namespace bf16 {
#include "kernels/conv1d/conv1d_tile.h"

// An asm, for compilers differ in how they name the intrinsic's type.
struct Products {
  static constexpr size_t lanes = 16;
  using F = Floats<16>;
  using W = Words<16>;

  static CONV1D_INLINE F add(F sum, W x, W w) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
  }
};

void run(const Call& call) {
  bf16::forward<Products>(call);
}
}  // namespace bf16
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
constexpr auto avx512bf16 = bf16::run;

Version choose() {
#if defined(CONV1D_VERSION)
  return CONV1D_VERSION;  // for tests
#endif
  if (__builtin_cpu_supports("avx512bf16")) return {"avx512bf16", avx512bf16};
  if (__builtin_cpu_supports("avx512vl")) return {"avx512", avx512};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {"avx2", avx2};
  return {"portable", portable};
}
#else
Version choose() {
  return {"portable", portable};
}
#endif

const Version& version() {
  static const Version chosen = choose();
  return chosen;
}

// Rounded to the nearest bfloat16, ties to even; no NaN comes here.
uint32_t rounded(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16;
}

}  // namespace
}  // namespace conv1d

extern "C" {

size_t parley_conv1d_weight_words(const parley_conv1d_shape* shape) {
  const size_t blocks = (shape->out + CONV1D_BLOCK - 1) / CONV1D_BLOCK;
  return blocks * CONV1D_BLOCK * conv1d::pairs_of(*shape) * shape->taps;
}

size_t parley_conv1d_input_words(const parley_conv1d_shape* shape) {
  return conv1d::pairs_of(*shape) * (shape->samples + conv1d::kSpare);
}

void parley_conv1d_pack_weights(const parley_conv1d_shape* shape, const uint16_t* weights,
                                uint32_t* packed) {
  const parley_conv1d_shape& s = *shape;
  const auto at = [&](size_t o, size_t i, size_t k) -> uint32_t {
    return o < s.out && i < s.in ? weights[(o * s.in + i) * s.taps + k] : 0;
  };
  for (size_t block = 0; block < s.out; block += CONV1D_BLOCK) {
    for (size_t i = 0; i < s.in; i += 2) {
      for (size_t k = 0; k < s.taps; ++k) {
        for (size_t o = block; o < block + CONV1D_BLOCK; ++o) {
          *packed++ = at(o, i, k) | at(o, i + 1, k) << 16;
        }
      }
    }
  }
}

void parley_conv1d_pack_input(const parley_conv1d_shape* shape, const float* x, size_t begin,
                              size_t end, uint32_t* packed) {
  const size_t n = shape->samples;
  for (size_t pair = begin; pair < end; ++pair) {
    uint32_t* to = packed + pair * (n + conv1d::kSpare);
    const float* low = x + 2 * pair * n;
    const bool both = 2 * pair + 1 < shape->in;
    for (size_t i = 0; i < n; ++i) to[i] = conv1d::rounded(low[i]);
    for (size_t i = 0; both && i < n; ++i) to[i] |= conv1d::rounded(low[n + i]) << 16;
    memset(to + n, 0, conv1d::kSpare * sizeof *to);
  }
}

void parley_conv1d_forward(const parley_conv1d_shape* shape, const uint32_t* weights,
                           const float* bias, const uint32_t* input, size_t begin, size_t end,
                           float* y) {
  conv1d::version().forward({*shape, weights, bias, input, begin, end, y});
}

const char* parley_conv1d_version(void) {
  return conv1d::version().name;
}

}  // extern "C"
