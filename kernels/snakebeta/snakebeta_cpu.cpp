// Snakebeta forward on a CPU: one source for vectors of any width; knows no intrinsic.
//
// The compiler maps the vectors to SSE2 or NEON (4 lanes), AVX2 (8) and AVX-512 (16).
#include <algorithm>

#include "kernels/snakebeta/snakebeta_tile.h"

namespace snakebeta {
namespace {

template <int kLanes>
using Vector __attribute__((vector_size(sizeof(float) * kLanes))) = float;

struct Call {
  const parley_snakebeta_window& window;
  const float *x, *alpha, *beta;
  size_t begin_row, end_row;
  float* out;
};

// As Tile::fill, a run at a time.
SNAKEBETA_INLINE const float* inputs_of(const Tile& tile, const float* row, float* x) {
  const int64_t begin = tile.at - 2 * kEdge, low = tile.lowest(), high = tile.highest();
  const int64_t after = begin + tile.inputs();
  if (begin >= low && after + kSpare <= high + 1) return row + begin;
  const int64_t from = std::clamp(begin, low, high), to = std::clamp(after - 1, low, high) + 1;
  std::fill(x, x + std::max<int64_t>(from - begin, 0), row[low]);
  std::copy(row + from, row + to, x + (from - begin));
  std::fill(x + std::min(to - begin, after - begin), x + (after - begin), row[high]);
  return x;
}

template <int kLanes>
SNAKEBETA_INLINE void forward(const Call& call) {
  using V = Vector<kLanes>;
  alignas(64) float x[kInputs + kSpare] = {}, even[kInputs + kSpare], odd[kInputs + kSpare];
  const parley_snakebeta_window& w = call.window;
  const auto left = static_cast<int64_t>(w.left), samples = static_cast<int64_t>(w.samples);
  const int64_t n_outputs = samples - left - static_cast<int64_t>(w.right);
  const Span span = outputs_of(w);
  for (size_t row = call.begin_row; row < call.end_row; ++row) {
    const Snake snake = snake_of(call.alpha[row % w.channels], call.beta[row % w.channels]);
    const float* in = call.x + row * w.samples;
    float* out = call.out + static_cast<int64_t>(row) * n_outputs - left;
    std::fill(out + left, out + span.begin, 0.0F);
    for (int64_t at = span.begin; at < span.end; at += kTile) {
      const int n = static_cast<int>(std::min<int64_t>(kTile, span.end - at));
      const Tile tile{at, w.first, w.end, samples, n};
      tile.double_rate<V>(inputs_of(tile, in, x), snake, 0, kLanes, even, odd);
      tile.repeat_edges(0, 1, even, odd);
      tile.halve_rate<V>(even, odd, 0, kLanes, out + at);
    }
    std::fill(out + span.end, out + left + n_outputs, 0.0F);
  }
}

void portable(const Call& call) {
  forward<4>(call);
}

struct Version {
  const char* name;
  void (*forward)(const Call&);
};

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx2,fma"))) void avx2(const Call& call) {
  forward<8>(call);
}

__attribute__((target("avx512f,avx512vl,avx512dq,fma"))) void avx512(const Call& call) {
  forward<16>(call);
}

Version choose() {
#if defined(SNAKEBETA_VERSION)
  return SNAKEBETA_VERSION;  // for tests
#endif
  if (__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return {"avx512", avx512};
  }
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

}  // namespace
}  // namespace snakebeta

extern "C" {

void parley_snakebeta_forward(const parley_snakebeta_window* window, const float* x,
                              const float* alpha, const float* beta, size_t begin_row,
                              size_t end_row, float* out) {
  snakebeta::version().forward({*window, x, alpha, beta, begin_row, end_row, out});
}

const char* parley_snakebeta_version(void) {
  return snakebeta::version().name;
}

}  // extern "C"
