// Tests of the flow decoder's arithmetic: time grid, midpoint steps, guidance, windows.
#include <cmath>
#include <vector>

#include "check.h"
#include "flow_rig.h"
#include "stages/flow/memory.h"
#include "stages/flow/solver.h"
#include "stages/flow/window.h"

using namespace parley;
using namespace flow_rig;

namespace {

std::vector<float> plain_features(const Rig& rig, std::vector<std::int64_t>& codes) {
  const auto n = static_cast<std::int64_t>(codes.size());
  const std::int64_t frames = n * static_cast<std::int64_t>(kFactor);
  std::vector<float> features(static_cast<std::size_t>(frames) * kHidden);
  const std::vector<TensorView> in = {view(codes.data(), {1, n})};
  const std::vector<TensorView> out = {view(features.data(), {1, frames, kHidden})};
  rig.condition->run(in, out, kGo);
  return features;
}

// The guided velocity at `x` and time t, element by element.
std::vector<float> plain_velocity(const Rig& rig, const std::vector<float>& features,
                                  const std::vector<float>& x, float t) {
  const std::size_t frames = x.size() / kZ;
  const std::size_t width = kHidden + 2 * kZ;
  std::vector<float> inputs(2 * frames * width, 0.0F);
  for (std::size_t i = 0; i < 2 * frames; ++i) {
    for (std::size_t c = 0; c < kHidden && i < frames; ++c) {
      inputs[i * width + c] = features[i * kHidden + c];
    }
    for (std::size_t c = 0; c < kZ; ++c) {
      const std::size_t at = i % frames * kZ + c;
      if (at < rig.voice->latents.size()) inputs[i * width + kHidden + c] = rig.voice->latents[at];
      inputs[i * width + kHidden + kZ + c] = x[at];
    }
  }
  std::vector<float> row(kModulation);
  for (std::size_t c = 0; c < row.size(); ++c) row[c] = t + 0.01F * static_cast<float>(c) * 0.3F;
  std::vector<float> result(2 * frames * kZ);
  const auto rows = static_cast<std::int64_t>(frames);
  const FlowPlan both = {{.guided = true}};
  WholeRun nothing(
      {.layers = 1, .heads = 1, .head_width = kHidden, .carried = 3, .carried_width = kHidden},
      both, frames);
  const FieldMemory& memory = nothing.recall(0, frames);
  const std::vector<TensorView> in = {view(inputs.data(), {2, rows, kHidden + 2 * kZ}),
                                      view(row.data(), {1, kModulation}),
                                      memory.positions,
                                      memory.prompt_positions,
                                      memory.mask,
                                      memory.carried,
                                      memory.prompt_keys[0],
                                      memory.prompt_values[0],
                                      memory.past_keys[0],
                                      memory.past_values[0]};
  std::vector<TensorView> out(4);
  out[0] = view(result.data(), {2, rows, kZ});
  rig.field->run(in, out, kGo);
  std::vector<float> guided(frames * kZ);
  for (std::size_t i = 0; i < guided.size(); ++i) {
    guided[i] = result[i] + 0.5F * (result[i] - result[guided.size() + i]);
  }
  return guided;
}

}  // namespace

TEST(midpoint_plans_have_starts_and_middles) {
  const auto plan = evaluation_plan({.points = 3, .guided_evaluations = 3});
  REQUIRE(plan.size() == 4);
  const float times[] = {0.0F, 0.25F, 0.5F, 0.75F};
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK_EQ(plan[i].t, times[i]);
    CHECK_EQ(plan[i].length, i % 2 == 0 ? 0.25F : 0.5F);
    CHECK(plan[i].to_middle == (i % 2 == 0) && plan[i].at_middle == (i % 2 == 1));
    CHECK_EQ(plan[i].branches(), i < 3 ? 2U : 1U);
  }
  CHECK_EQ(evaluation_plan({.points = 10}).size(), 18U);
  CHECK_EQ(guide(3, 1, 0.5F), 4.0F);
}

TEST(euler_plans_take_one_evaluation_per_step) {
  const auto plan =
      evaluation_plan({.solver = FlowSolver::euler, .spacing = FlowSpacing::cosine, .points = 6});
  REQUIRE(plan.size() == 5);
  float end = 0.0F;
  for (const FlowEvaluation& evaluation : plan) {
    CHECK_NEAR(evaluation.t, end, check::tolerance("SOLVER_ABS"));
    CHECK(!evaluation.at_middle && !evaluation.to_middle && evaluation.guided);
    end += evaluation.length;
  }
  CHECK_NEAR(end, 1.0F, check::tolerance("SOLVER_ABS"));
  CHECK_NEAR(plan[3].t, 1 - std::cos(0.3 * 3.14159265358979), check::tolerance("SOLVER_ABS"));
  CHECK(plan[0].length < plan[1].length);
}

TEST(no_guidance_means_one_branch) {
  for (const FlowEvaluation& evaluation : evaluation_plan({.guidance = 0.0F}))
    CHECK_EQ(evaluation.branches(), 1U);
}

TEST(midpoint_steps_of_a_known_equation) {
  std::vector<float> x = {1.0F};
  std::vector<float> middle(1);
  for (const FlowEvaluation& evaluation : evaluation_plan({.points = 5, .guidance = 0.0F})) {
    const std::vector<float> velocity = evaluation.at_middle ? middle : x;  // dx/dt = x
    advance(x, velocity, 0.0F, evaluation.length, evaluation.to_middle ? middle : x);
  }
  CHECK_NEAR(x[0], std::pow(1 + 0.25 + 0.03125, 4), check::tolerance("SOLVER_ABS"));
}

TEST(chunk_borders_follow_the_count_alone) {
  const FlowCut cut{.codes_per_run = 4, .past_codes = 6, .lookahead_codes = 2};
  CHECK_EQ(decodable(5, false, cut), 0);
  CHECK_EQ(decodable(6, false, cut), 4);
  CHECK_EQ(decodable(9, false, cut), 4);
  CHECK_EQ(decodable(9, true, cut), 9);
  const FlowWindow third = next_window(30, 8, false, cut);
  CHECK(third.begin == 2 && third.own == 8 && third.own_end == 12 && third.end == 14);
  const FlowWindow tail = next_window(9, 8, true, cut);
  CHECK(tail.begin == 2 && tail.own_end == 9 && tail.end == 9);
  CHECK_EQ(next_window(5, 4, false, cut).own_end, 4);
}

TEST(decode_matches_the_solver_written_out) {
  Rig rig(config_of(0, 0));
  const std::vector<std::int32_t> codes = {7, 1, 4};
  std::vector<float> x(5 * kFactor * kZ);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(3 * i));
  const std::vector<float> noise = x;
  std::vector<std::int64_t> all = {5, 9, 7, 1, 4};
  const std::vector<float> features = plain_features(rig, all);

  std::vector<float> first;
  for (int step = 0; step < 3; ++step) {
    const float t = static_cast<float>(step) / 3;
    std::vector<float> middle = x;
    const auto at_start = plain_velocity(rig, features, x, t);
    for (std::size_t i = 0; i < x.size(); ++i) middle[i] += at_start[i] / 6;
    const auto at_middle = plain_velocity(rig, features, middle, t + 1.0F / 6);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += at_middle[i] / 3;
    if (step == 0) first = x;
  }

  FlowTrajectory trajectory;
  const auto latents = rig.probe().decode(*rig.voice, codes, noise, 0, &trajectory, kGo);
  REQUIRE(trajectory.final_step.size() == x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    CHECK_NEAR(trajectory.first_step[i], first[i], check::tolerance("SOLVER_ABS"));
    CHECK_NEAR(trajectory.final_step[i], x[i], check::tolerance("SOLVER_ABS"));
  }
  // The prompt's 11 frames are dropped, the rest is denormalised.
  REQUIRE(latents.size() == x.size() - 11 * kZ);
  CHECK_NEAR(latents[0], x[11 * kZ] * 2 + 0.5, check::tolerance("SOLVER_ABS"));
  CHECK_NEAR(latents[2], x[11 * kZ + 2] * 0.5 + 2, check::tolerance("SOLVER_ABS"));
}
