// The arithmetic of flow matching: time grid, guidance, steps; knows no graph.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <span>
#include <vector>

#include "parley/flow_settings.hpp"

namespace parley {

struct FlowSteps {
  FlowSolver solver = FlowSolver::midpoint;
  FlowSpacing spacing = FlowSpacing::linear;
  int points = 10;              // time points from 0 to 1; one step less
  float guidance = 1.0F;        // 0: the conditional velocity alone
  int guided_evaluations = 18;  // how many of the first evaluations run guidance
};

// One evaluation of the field and what it does: out = x + length * velocity.
struct FlowEvaluation {
  float t = 0;
  float length = 0;
  bool at_middle = false;  // evaluated at the middle, else at x
  bool to_middle = false;  // `out` is the middle, else x
  bool guided = false;     // a batch of two; else the conditional branch alone

  std::size_t branches() const { return guided ? 2 : 1; }
};

// Time point i of 0 to points - 1.
inline float time_point(const FlowSteps& steps, int i) {
  const double share = static_cast<double>(i) / static_cast<double>(steps.points - 1);
  if (steps.spacing == FlowSpacing::linear) return static_cast<float>(share);
  return static_cast<float>(1.0 - std::cos(share * std::numbers::pi / 2));
}

// The whole way from noise at t = 0 to latents at t = 1. A midpoint step is two evaluations, at its
// start and at its middle; an Euler step is one.
inline std::vector<FlowEvaluation> evaluation_plan(const FlowSteps& steps) {
  std::vector<FlowEvaluation> plan;
  const auto add = [&](float t, float length, bool at_middle, bool to_middle) {
    const bool guided =
        steps.guidance != 0.0F && static_cast<int>(plan.size()) < steps.guided_evaluations;
    plan.push_back({t, length, at_middle, to_middle, guided});
  };
  for (int i = 0; i + 1 < steps.points; ++i) {
    const float begin = time_point(steps, i);
    const float length = time_point(steps, i + 1) - begin;
    if (steps.solver == FlowSolver::euler) {
      add(begin, length, false, false);
    } else {
      add(begin, length / 2, false, true);
      add(begin + length / 2, length, true, false);
    }
  }
  return plan;
}

// Classifier-free guidance (Ho and Salimans, 2022): conditional and unconditional velocity.
constexpr float guide(float conditional, float unconditional, float guidance) {
  return conditional + guidance * (conditional - unconditional);
}

// out = x + length * velocity, all `[n]`; `out` may be `x`. Guided where `velocity` holds two
// branches, the conditional one first.
inline void advance(std::span<const float> x, std::span<const float> velocity, float guidance,
                    float length, std::span<float> out) {
  const std::size_t n = x.size();
  if (velocity.size() == n) {
    for (std::size_t i = 0; i < n; ++i) out[i] = x[i] + length * velocity[i];
    return;
  }
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = x[i] + length * guide(velocity[i], velocity[n + i], guidance);
  }
}

}  // namespace parley
