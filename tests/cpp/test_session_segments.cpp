// Turns longer than a segment: full segments are encoded beside the steps, to the same end.
#include <atomic>
#include <thread>

#include "session_run.h"

namespace {

using namespace session_run;

constexpr int kSegment = 188;  // steps until the first segment is full, and one sample more

SessionParts turns_of(const Stages& stages, bool overlap) {
  SessionParts parts = stages.turns();
  parts.overlap = overlap;
  parts.clock = std::make_shared<SteadyClock>();  // the scripted one is for one thread
  return parts;
}

// Says something else in every step.
void say(Run& run, Session& session, int steps) {
  for (int i = 0; i < steps; ++i) run.step(session, 0.001F * static_cast<float>(i * i % 97));
}

// What the backbone read: ids, or the features' first numbers.
std::vector<float> heard(const Stages& stages) {
  std::vector<float> values;
  for (const auto& row : stages.backbone->last->rows)
    values.push_back(row.id >= 0 ? static_cast<float>(row.id) : row.feature);
  return values;
}

TEST(features_are_the_same_beside_the_steps) {
  // One segment, nothing behind it, two segments, and a short one behind them.
  for (const int steps : {100, kSegment, 2 * kSegment, 2 * kSegment + 40}) {
    std::array<std::vector<float>, 2> fed;
    for (const bool overlap : {false, true}) {
      Stages stages;
      stages.backbone->script = {kEnd, kEnd};
      Session session = make_session(turns_of(stages, overlap));
      Run run;
      for (int turn = 0; turn < 2; ++turn) {
        say(run, session, steps + turn);
        session.end_turn();
        run.steps(session, 3);
      }
      fed[overlap] = heard(stages);
    }
    CHECK(fed[0].size() > 2 * static_cast<std::size_t>(steps));
    CHECK(fed[0] == fed[1]);
  }
}

TEST(the_user_goes_on_while_a_segment_is_encoded) {
  Stages stages;
  stages.backbone->script = {kEnd};
  std::atomic<bool> free = false;
  std::atomic<int> here = 0;
  std::atomic<int> beside = 0;
  stages.encoder->on_segment = [&, steps = std::this_thread::get_id()] {
    ++(std::this_thread::get_id() == steps ? here : beside);
    while (!free && here == 0) std::this_thread::yield();
  };
  Session session = make_session(turns_of(stages, true));
  Run run;
  say(run, session, kSegment + 20);
  CHECK_EQ(here.load(), 0);
  free = true;
  session.end_turn();
  run.steps(session, 1);
  CHECK_EQ(here.load(), 1);
  CHECK_EQ(beside.load(), 1);
}

// The encoder, the backbone, or both in turn fail; each step is tried until it works.
TEST(a_failure_beside_is_made_good) {
  std::vector<std::vector<float>> fed;
  for (int failing = 0; failing < 10; ++failing) {
    Stages stages;
    stages.backbone->script = {kEnd};
    Session session = make_session(turns_of(stages, true));
    std::atomic<int> calls = 0;
    const auto fail_at = [&](int call, bool cancelled) {
      if (calls++ != call) return;
      if (cancelled) session.cancel();
      if (!cancelled) throw Error("scripted failure");
    };
    stages.encoder->on_segment = [&, failing] {
      if (failing < 8) fail_at(failing / 2, failing % 2 == 1);
    };
    if (failing == 8) stages.backbone->on_feed = [&] { fail_at(0, false); };
    Run run;
    int failed = 0;
    const auto persist = [&](std::size_t steps) {
      for (const std::size_t end = run.floors.size() + steps; run.floors.size() < end;) {
        try {
          run.step(session, 0.001F * static_cast<float>(run.floors.size() % 97));
        } catch (const Error&) {
          if (++failed > 3) throw;
        }
      }
    };
    persist(2 * kSegment + 40);
    session.end_turn();
    persist(2);
    CHECK(failed <= 1);
    fed.push_back(heard(stages));
  }
  for (const auto& each : fed) CHECK(each == fed.back());  // where nothing fails
}

TEST(a_turn_given_up_leaves_nothing_behind) {
  std::vector<std::vector<float>> fed;
  for (int way = 0; way < 4; ++way) {
    Stages stages;
    stages.backbone->script = {kEnd, kEnd};
    Session session = make_session(turns_of(stages, true));
    Run run;
    if (way > 0) say(run, session, kSegment + 5);
    if (way == 1) session.reset();
    if (way == 2) {
      session.end_turn();
      session.interrupt();
      run.steps(session, 1);
      session.reset();
    }
    if (way == 3) {
      session.send_text("HI");
      while (session.floor() != Floor::listening) run.step(session);
    }
    Run again;
    for (int i = 0; i < kSegment + 30; ++i)
      again.step(session, 0.002F * static_cast<float>(i % 31));
    session.end_turn();
    again.steps(session, 2);
    std::vector<float>& features = fed.emplace_back();
    for (const auto& row : stages.backbone->last->rows)
      if (row.id < 0) features.push_back(row.feature);
  }
  CHECK_EQ(fed[0].size(), static_cast<std::size_t>(kSegment + 30));
  for (const auto& each : fed) CHECK(each == fed[0]);
}

TEST(the_destructor_waits_for_the_segment) {
  Stages stages;
  std::atomic<int> done = 0;
  stages.encoder->on_segment = [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ++done;
  };
  {
    Session session = make_session(turns_of(stages, true));
    Run run;
    say(run, session, kSegment);
  }
  CHECK_EQ(done.load(), 1);
}

}  // namespace
