// The arithmetic of flow matching: time grid, guidance, midpoint steps; knows no graph.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace parley {

// Times of the field's evaluations: for each step from t_i to t_{i+1} of a linear grid over 0..1,
// t_i and the middle. `[2 * (points - 1)]`. Step i uses entries 2i and 2i + 1.
inline std::vector<float> evaluation_times(int points) {
  std::vector<float> times;
  const auto at = [&](int i) {
    return static_cast<float>(static_cast<double>(i) / static_cast<double>(points - 1));
  };
  for (int i = 0; i + 1 < points; ++i) {
    times.push_back(at(i));
    times.push_back(at(i) + (at(i + 1) - at(i)) / 2);
  }
  return times;
}

// Length of step i on the same grid.
inline float step_length(int points, int i) {
  const double last = points - 1;
  return static_cast<float>((i + 1) / last) - static_cast<float>(i / last);
}

// Classifier-free guidance (Ho and Salimans, 2022): conditional and unconditional velocity.
constexpr float guide(float conditional, float unconditional, float guidance) {
  return conditional + guidance * (conditional - unconditional);
}

// out = x + step * guided velocity, all `[n]`; `out` may be `x`.
inline void advance(std::span<const float> x, std::span<const float> unconditional,
                    std::span<const float> conditional, float guidance, float step,
                    std::span<float> out) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = x[i] + step * guide(conditional[i], unconditional[i], guidance);
  }
}

}  // namespace parley
