// What a manifest may tell beside what the engine needs, and what a caller puts in its place.
#include <cmath>

#include "bundle/manifest.h"
#include "check.h"
#include "manifest_text.h"

using namespace parley;

namespace {

Manifest parsed(const std::string& text) {
  return parse_manifest(text, "manifest.json");
}

}  // namespace

TEST(the_work_of_graphs_may_be_told) {
  const auto with = [](const std::string& work) {
    return changed(manifest_text(), "\"width\": 24,", "\"width\": 24, \"work\": " + work + ",");
  };
  CHECK_EQ(parsed(manifest_text()).backbone.work.weights, 0);
  const Manifest told = parsed(with(R"({"weights": 5, "macs": 6, "cached": 7})"));
  CHECK_EQ(told.backbone.work.weights, 5);
  CHECK_EQ(told.backbone.work.macs, 6);
  CHECK_EQ(told.backbone.work.cached, 7);
  CHECK_EQ(told.backbone.work.attention, 0);
  CHECK_THROWS_MSG(BundleError, "key backbone.work.macs",
                   parsed(with(R"({"weights": 5, "macs": -1})")));
  CHECK_THROWS_MSG(BundleError, "the key \"macs\"", parsed(with(R"({"weights": 5})")));
}

TEST(settings_of_the_flow_are_the_callers) {
  const Manifest manifest = parsed(manifest_text());
  const auto with = [&](const std::string& flow) {
    return with_flow(manifest, parse_flow_settings(flow));
  };
  const Manifest other =
      with(R"({"points": 7, "mode": "cached", "guidance": 0.5, "spacing": null})");
  CHECK_EQ(other.flow.steps.points, 7);
  CHECK(other.flow.mode == FlowMode::cached);
  CHECK_EQ(other.flow.steps.guidance, 0.5F);
  CHECK_EQ(other.flow.past_codes, manifest.flow.past_codes);
  CHECK_EQ(other.document.find("flow")->find("points")->integer, 7);
  CHECK_EQ(other.document.find("flow")->find("mode")->string, "cached");
  CHECK_EQ(manifest.document.find("flow")->find("points")->integer, 10);
  CHECK_EQ(with("{}").flow.steps.points, 10);
  // What fails is told as the argument's fault: no line of a file that the caller did not write.
  for (const auto& [flow, message] : std::initializer_list<std::pair<const char*, const char*>>{
           {"{\"mode\": \"nix\"}", "in the argument flow, got \"nix\" (key flow.mode); correct"},
           {"{\"points\": 1}", "in the argument flow, got 1 (key flow.points)"},
           {"{\"points\": 2.5}", "a whole number from 2 to 1000 in the argument flow, got 2.5"},
           {"{\"z\": 2}", "got \"z\"; choose among mode, solver"},
           {"{\"nix\": 1}", "got \"nix\"; choose among mode, solver"},
           {"[]", "expected an object of settings in the argument flow, got an array"},
           {"{", "in the argument flow, got the end of the text"},
       }) {
    CHECK_THROWS_MSG(InputError, message, with(flow));
  }
}

TEST(settings_of_a_cpp_caller_have_the_same_ranges) {
  const Manifest manifest = parsed(manifest_text());
  CHECK(with_flow(manifest, {.solver = FlowSolver::euler}).flow.steps.solver == FlowSolver::euler);
  CHECK_EQ(with_flow(manifest, {.past_codes = 3}).flow.past_codes, 3U);
  for (const FlowSettings& bad :
       {FlowSettings{.points = 1}, FlowSettings{.guidance = NAN}, FlowSettings{.past_codes = -1},
        FlowSettings{.mode = static_cast<FlowMode>(7)}}) {
    CHECK_THROWS_MSG(InputError, "in the argument flow, got", with_flow(manifest, bad));
  }
}
