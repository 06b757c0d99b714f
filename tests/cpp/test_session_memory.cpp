// A warm duplex session allocates nothing per chunk: operator new counts, the stages are scripted.
#include <array>

#include "check.h"
#include "count_allocations.h"
#include "scripted_stages.h"
#include "session/session.h"

namespace {

using namespace parley;

TEST(a_warm_duplex_session_allocates_nothing) {
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
  Session session = make_session(stages.duplex());
  std::array<float, 3840> in{};
  std::array<float, 3840> out{};
  const auto play = [&](int steps) {
    for (int i = 0; i < steps; ++i) session.step(in, out);
  };
  play(60);
  CHECK_EQ(check::allocations([&] { play(200); }), 0L);
}

TEST(the_counter_counts) {
  CHECK(check::allocations([] {
          int* volatile kept = new int(1);  // volatile: the pair may not be optimized away
          delete kept;
        }) > 0);
}

}  // namespace
