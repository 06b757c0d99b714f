// The arithmetic of conv1d_cpu.cpp, which includes it in a namespace for any processor and in one
// for a certain one (so no `#pragma once`); knows no processor.

template <size_t kLanes>
using Floats __attribute__((vector_size(4 * kLanes))) = float;
template <size_t kLanes>
using Words __attribute__((vector_size(4 * kLanes))) = uint32_t;

// Adds the products of two pairs of bfloat16 per lane, by shifts and float32 arithmetic.
template <size_t kLanes>
struct Plain {
  static constexpr size_t lanes = kLanes;
  using F = Floats<kLanes>;
  using W = Words<kLanes>;

  static CONV1D_INLINE F add(F sum, W x, W w) {
    const F low = (F)(x << 16) * (F)(w << 16);
    return sum + low + (F)(x & 0xffff0000U) * (F)(w & 0xffff0000U);
  }
};

// kBlock output channels (`rows` of them real) by count vectors of outputs (`n` of them real).
struct Tile {
  const parley_conv1d_shape& shape;
  const uint32_t *weights, *input;
  const float* bias;
  size_t rows, n, row_words, n_outputs;
  float* y;

  template <class Ops, size_t kCount = kVectors>
  CONV1D_INLINE void run(size_t count) const {
    if (count == kCount) {
      compute<Ops, kCount>();
    } else if constexpr (kCount > 1) {
      run<Ops, kCount - 1>(count);
    }
  }

  template <class Ops, size_t kCount>
  CONV1D_INLINE void compute() const {
    typename Ops::F sums[kBlock][kCount], done[kBlock][kCount];
    for (size_t o = 0; o < kBlock; ++o) {
      for (auto& sum : sums[o]) sum = typename Ops::F{} + (o < rows ? bias[o] : 0);
    }
    const uint32_t *w = weights, *row = input;
    for (size_t pair = 0; pair < pairs_of(shape); ++pair, row += row_words) {
      for (size_t k = 0; k < shape.taps; ++k, w += kBlock) {
        typename Ops::W x[kCount];
        memcpy(x, row + k * shape.dilation, sizeof x);
        for (size_t o = 0; o < kBlock; ++o) {
          const auto weight = typename Ops::W{} + w[o];
          for (size_t v = 0; v < kCount; ++v) sums[o][v] = Ops::add(sums[o][v], x[v], weight);
        }
      }
    }
    // Copied with constant indices only, for the sums themselves stay in registers then.
    for (size_t o = 0; o < kBlock; ++o) {
      for (size_t v = 0; v < kCount; ++v) done[o][v] = sums[o][v];
    }
    for (size_t o = 0; o < rows; ++o) memcpy(y + o * n_outputs, done[o], n * sizeof(float));
  }
};

template <class Ops>
CONV1D_INLINE void forward(const Call& call) {
  const parley_conv1d_shape& s = call.shape;
  const size_t n_outputs = outputs_of(s), row_words = s.samples + kSpare;
  const size_t block_words = pairs_of(s) * s.taps * kBlock;
  const size_t vectors = (n_outputs + Ops::lanes - 1) / Ops::lanes;
  const size_t tiles = (vectors + kVectors - 1) / kVectors;
  for (size_t block = call.begin; block < call.end; ++block) {
    const uint32_t* weights = call.weights + block * block_words;
    const size_t rows = std::min(kBlock, s.out - block * kBlock);
    for (size_t t = 0; t < tiles; ++t) {
      // Tiles of about the same size, for a narrow one leaves arithmetic units idle.
      const size_t first = vectors * t / tiles, count = vectors * (t + 1) / tiles - first;
      const size_t at = first * Ops::lanes, n = std::min(count * Ops::lanes, n_outputs - at);
      const Tile tile{s,
                      weights,
                      call.input + at,
                      call.bias + block * kBlock,
                      rows,
                      n,
                      row_words,
                      n_outputs,
                      call.y + block * kBlock * n_outputs + at};
      tile.run<Ops>(count);
    }
  }
}
