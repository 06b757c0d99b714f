// A warm duplex session allocates nothing per chunk: operator new counts, the stages are scripted.
#include <array>

#include "check.h"
#include "count_allocations.h"
#include "scripted_stages.h"
#include "session/session.h"

namespace {

using namespace parley;

void check_that_nothing_is_allocated(bool overlap) {
  scripted::Stages stages(4, 13);
  // Listening, replies and breaks in turn, for longer than the window holds.
  for (int round = 0; round < 40; ++round) {
    auto& script = stages.backbone->script;
    script.insert(script.end(), {scripted::kThink, scripted::kThink, scripted::kShift});
    for (int chunk = 0; chunk < 5; ++chunk) {
      script.push_back(chunk < 3 ? 1 + chunk : scripted::kPad);
      for (int k = 0; k < 4; ++k) script.push_back(scripted::kAudio + k);
    }
    script.push_back(scripted::kBreak);
  }
  stages.backbone->evicted.reserve(1000);
  stages.backbone->passes.reserve(10000);
  SessionParts parts = stages.duplex();
  parts.overlap = overlap;
  parts.clock = std::make_shared<SteadyClock>();
  Session session = make_session(std::move(parts));
  std::array<float, 3840> in{};
  std::array<float, 3840> out{};
  const auto play = [&](int steps) {
    for (int i = 0; i < steps; ++i) session.step(in, out);
  };
  play(60);
  CHECK_EQ(check::allocations([&] { play(200); }), 0L);
}

TEST(a_warm_duplex_session_allocates_nothing) {
  for (const bool overlap : {false, true}) check_that_nothing_is_allocated(overlap);
}

TEST(the_counter_counts) {
  CHECK(check::allocations([] {
          int* volatile kept = new int(1);  // volatile: the pair may not be optimized away
          delete kept;
        }) > 0);
}

}  // namespace
