// What one thread of a GPU's block does, step by step; compiles for a CPU too, where a test runs
// it.
#ifndef PARLEY_KERNELS_SNAKEBETA_CUDA_H
#define PARLEY_KERNELS_SNAKEBETA_CUDA_H

#include "kernels/snakebeta/snakebeta_tile.h"

namespace snakebeta {

constexpr int kThreads = kTile + 2 * kEdge;  // one per place of the doubled rate
constexpr int kSteps = 4;                    // of a block, a barrier after each

struct Shared {
  float x[kInputs], even[kThreads], odd[kThreads];
};

// One tile of a row's outputs; `tile` covers those of the signal, the others are zero.
struct Block {
  parley_snakebeta_window window;
  int64_t row, begin;  // of the outputs, as position in the window
  int n;
  Tile tile;

  SNAKEBETA_INLINE void run(int step, int thread, const float* x, const float* alpha,
                            const float* beta, Shared& shared, float* out) const {
    const auto channel = static_cast<size_t>(row) % window.channels;
    const int64_t n_outputs = static_cast<int64_t>(window.samples - window.left - window.right);
    float* to = out + row * n_outputs - static_cast<int64_t>(window.left);
    if (tile.n == 0 && step < 3) return;
    if (step == 0) tile.fill(x + row * tile.samples, thread, kThreads, shared.x);
    if (step == 1) {
      const Snake snake = snake_of(alpha[channel], beta[channel]);
      tile.double_rate<float>(shared.x, snake, thread, kThreads, shared.even, shared.odd);
    }
    if (step == 2) tile.repeat_edges(thread, kThreads, shared.even, shared.odd);
    if (step == 3) {
      for (int i = thread; i < n; i += kThreads) {
        if (begin + i < tile.at || begin + i >= tile.at + tile.n) to[begin + i] = 0;
      }
      tile.halve_rate<float>(shared.even, shared.odd, thread, kThreads, to + tile.at);
    }
  }
};

// All blocks of a call: the tiles of a row lie side by side.
struct Grid {
  parley_snakebeta_window window;

  explicit Grid(const parley_snakebeta_window& w) : window(w) {}

  SNAKEBETA_INLINE int64_t tiles() const {
    return (static_cast<int64_t>(window.samples - window.left - window.right) + kTile - 1) / kTile;
  }

  SNAKEBETA_INLINE Block block(int64_t index) const {
    const int64_t begin = static_cast<int64_t>(window.left) + index % tiles() * kTile;
    const auto after = static_cast<int64_t>(window.samples - window.right);
    const int n = static_cast<int>(after - begin < kTile ? after - begin : kTile);
    const Span span = outputs_of(window);
    const int64_t low = span.begin > begin ? span.begin : begin;
    const int64_t high = span.end < begin + n ? span.end : begin + n;
    const Tile tile{low, window.first, window.end, static_cast<int64_t>(window.samples),
                    static_cast<int>(low < high ? high - low : 0)};
    return {window, index / tiles(), begin, n, tile};
  }
};

}  // namespace snakebeta

#endif  // PARLEY_KERNELS_SNAKEBETA_CUDA_H
