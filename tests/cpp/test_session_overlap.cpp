// Sound made beside the next step's thinking: the same conversation, its samples one chunk later.
#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "session_run.h"

namespace {

using namespace session_run;

SessionParts with_overlap(SessionParts parts, bool overlap) {
  parts.overlap = overlap;
  parts.clock = std::make_shared<SteadyClock>();  // the scripted one is for one thread
  return parts;
}

bool is_of_sound(const Seen& e) {
  return e.kind == EventKind::underrun || e.kind == EventKind::muted;
}

// Events of the conversation and of its sound, the latter brought back by `chunks`.
std::vector<Seen> events_of(const Run& run, bool sound, int chunks) {
  std::vector<Seen> events;
  for (Seen e : run.events) {
    if (is_of_sound(e) != sound) continue;
    if (sound) e.sample -= chunks * static_cast<std::int64_t>(kChunk);
    events.push_back(e);
  }
  return events;
}

// `late` is `plain` with its sound one chunk later.
void check_shifted(const Run& plain, const Run& late) {
  CHECK(events_of(plain, false, 0) == events_of(late, false, 1));
  std::vector<Seen> sound = events_of(plain, true, 0);
  const auto end = static_cast<std::int64_t>(plain.samples.size() - kChunk);
  std::erase_if(sound, [&](const Seen& e) { return e.sample >= end; });
  CHECK(sound == events_of(late, true, 1));
  REQUIRE(plain.samples.size() == late.samples.size());
  for (std::size_t i = 0; i < kChunk; ++i) CHECK_EQ(late.samples[i], 0.0F);
  CHECK(std::equal(plain.samples.begin(), plain.samples.end() - kChunk,
                   late.samples.begin() + kChunk));
}

// Listening, replies of a few chunks, breaks, and a reply right behind a break.
std::vector<std::int32_t> random_script(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> script;
  for (int round = 0; round < 8; ++round) {
    for (unsigned k = random() % 3; k > 0; --k) script.push_back(kThink);
    script.push_back(kShift);
    const unsigned chunks = 1 + random() % 4;
    for (unsigned k = 0; k < chunks; ++k) {
      script.push_back(random() % 2 ? kPad : static_cast<std::int32_t>(random() % 90));
      for (int c = 0; c < 4; ++c) script.push_back(code(static_cast<int>(random() % 90)));
    }
    script.push_back(kBreak);
  }
  return script;
}

TEST(a_duplex_conversation_is_the_same_one_chunk_later) {
  for (unsigned seed = 0; seed < 12; ++seed) {
    const std::size_t ahead = seed % 2 ? 0 : 4;
    std::array<Run, 2> runs;
    std::array<std::size_t, 2> delays{};
    std::vector<std::vector<std::int32_t>> fed;
    for (const bool overlap : {false, true}) {
      Stages stages(ahead, seed % 3 ? 0 : 13, seed % 4 ? 0 : 3);
      stages.backbone->script = random_script(seed);
      SessionParts parts = with_overlap(stages.duplex(), overlap);
      if (seed % 5 == 0) parts.duplex->plans.shift.clear();
      Session session = make_session(std::move(parts));
      delays[overlap] = session.delay_samples();
      for (int i = 0; i < 60; ++i) {
        if (i % 17 == 9) session.interrupt();
        runs[overlap].step(session);
      }
      fed.push_back(stages.backbone->fed());
    }
    CHECK_EQ(delays[1], delays[0] + kChunk);
    CHECK(runs[0].floors == runs[1].floors);
    CHECK(fed[0] == fed[1]);
    CHECK(runs[0].find(EventKind::reply_started) != nullptr);
    check_shifted(runs[0], runs[1]);
  }
}

TEST(turns_keep_the_same_history_wherever_they_are_interrupted) {
  for (int at = 0; at < 12; ++at) {
    std::array<Run, 2> runs;
    std::vector<std::vector<std::int32_t>> fed;
    for (const bool overlap : {false, true}) {
      Stages stages(0, 2);
      for (int k = 0; k < 30; ++k) stages.backbone->script.push_back(k % 7 == 0 ? 3 : code(k));
      stages.backbone->otherwise = kEnd;
      Session session = make_session(with_overlap(stages.turns(), overlap));
      session.send_text("HI");
      for (int i = 0; i < 14; ++i) {
        if (i == at) session.interrupt();
        runs[overlap].step(session);
      }
      CHECK(runs[overlap].floors.back() == Floor::listening);
      session.send_text("YOU");
      runs[overlap].steps(session, 3);
      fed.push_back(stages.backbone->fed());
    }
    CHECK(fed[0] == fed[1]);
    // Where the plain reply is over already, the late one's last chunk is still there to fade.
    const auto before = static_cast<std::size_t>(std::max(at - 1, 0));
    if (at == 0 || runs[0].floors[before] == runs[1].floors[before])
      check_shifted(runs[0], runs[1]);
  }
}

TEST(a_turn_is_over_when_its_last_sample_was_played) {
  std::array<Run, 2> runs;
  for (const bool overlap : {false, true}) {
    Stages stages;
    stages.backbone->script = {1, code(0), code(1), code(2), code(3), code(4), kEnd};
    Session session = make_session(with_overlap(stages.turns(), overlap));
    session.send_text("HI");
    runs[overlap].steps(session, 5);
  }
  const auto listening = [](const Run& run) {
    return std::find(run.floors.begin(), run.floors.end(), Floor::listening) - run.floors.begin();
  };
  CHECK_EQ(listening(runs[1]), listening(runs[0]) + 1);
  CHECK_EQ(runs[1].count(EventKind::underrun), 0);
}

// Every stage fails once, or is cancelled once, at every place; each step is tried until it works.
TEST(a_failure_on_either_thread_changes_nothing) {
  for (int failing = 0; failing < 40; ++failing) {
    const int kind = failing % 4;
    std::array<Run, 2> runs;
    std::vector<std::vector<std::int32_t>> fed;
    for (const bool wild : {false, true}) {
      Stages stages(4, 13);
      stages.backbone->script = random_script(3);
      Session session = make_session(with_overlap(stages.duplex(), true));
      std::atomic<int> calls = 0;
      const auto fail = [&] {
        if (!wild || calls++ != failing / 2) return;
        if (kind < 2) throw Error("scripted failure");
        session.cancel();
      };
      (kind % 2 == 0 ? stages.flow->on_push : stages.backbone->on_feed) = fail;
      int failed = 0;
      while (runs[wild].floors.size() < 40) {
        try {
          runs[wild].step(session);
        } catch (const Error&) {
          ++failed;
        }
      }
      CHECK(failed <= 1);
      fed.push_back(stages.backbone->fed());
    }
    CHECK(runs[0].samples == runs[1].samples);
    CHECK(runs[0].events == runs[1].events);
    CHECK(fed[0] == fed[1]);
  }
}

TEST(the_caller_hears_of_the_decoders_failure) {
  Stages stages;
  stages.backbone->script = spoken_script();
  Session session = make_session(with_overlap(stages.duplex(), true));
  Run run;
  run.steps(session, 3);
  stages.flow->on_push = [] { throw Error("scripted failure"); };
  CHECK_THROWS_MSG(Error, "scripted failure", run.step(session));
  CHECK_THROWS_MSG(Error, "scripted failure", run.step(session));
  stages.flow->on_push = nullptr;
  run.steps(session, 1);
  CHECK_EQ(run.first(0), 3 * std::int64_t{kChunk});
}

TEST(an_interruption_waits_for_what_is_heard_even_if_that_fails) {
  Stages stages;
  stages.backbone->otherwise = code(3);
  Session session = make_session(with_overlap(stages.turns(), true));
  session.send_text("HI");
  Run run;
  run.steps(session, 3);
  session.interrupt();
  stages.flow->on_push = [] { throw Error("scripted failure"); };
  CHECK_THROWS_MSG(Error, "scripted failure", run.step(session));
  CHECK(session.floor() == Floor::speaking);
  stages.flow->on_push = nullptr;
  run.steps(session, 2);
  CHECK_EQ(run.count(EventKind::reply_ended), 1);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::interrupted);
}

TEST(reset_drops_the_sound_that_waits) {
  Stages stages;
  stages.backbone->script = spoken_script();
  Session session = make_session(with_overlap(stages.duplex(), true));
  Run first;
  first.steps(session, 3);  // a chunk of codes waits
  session.reset();
  stages.backbone->last->draws = stages.backbone->last->committed_draws = 0;
  Run again;
  again.steps(session, 6);
  stages.backbone->last->draws = 0;
  for (std::size_t i = 0; i < 3 * kChunk; ++i) CHECK_EQ(again.samples[i], 0.0F);
  CHECK_EQ(again.first(0), 3 * std::int64_t{kChunk});
}

TEST(close_and_the_destructor_wait_for_the_decode) {
  for (const bool close : {true, false}) {
    Stages stages;
    stages.backbone->script = spoken_script();
    std::optional<Session> session = make_session(with_overlap(stages.duplex(), true));
    std::atomic<bool> decoding = false;
    std::thread closer;
    stages.flow->on_push = [&] {
      decoding = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    };
    Run run;
    run.steps(*session, 3);
    if (close) {
      closer = std::thread([&] {
        while (!decoding) std::this_thread::yield();
        session->close();
      });
    }
    try {
      run.steps(*session, close ? 1000000 : 1);
    } catch (const Error&) {  // cancelled by close, or refused because it is closed
    }
    if (close) closer.join();
    session.reset();
    CHECK(decoding);
  }
}

TEST(a_step_says_which_stage_is_its_bottleneck) {
  Timing timing{.stage_ns = {1, 2, 50, 40, 30}, .total_ns = 130};
  CHECK(timing.bottleneck() == Stage::backbone);  // one after the other: the longest
  CHECK_EQ(timing.engine_ns(), 7);
  timing.beside_ns = 50;
  timing.total_ns = 80;
  CHECK(timing.bottleneck() == Stage::flow);  // 70 beside 53
  CHECK_EQ(timing.engine_ns(), 7);
  timing[Stage::backbone] = 90;
  CHECK(timing.bottleneck() == Stage::backbone);
  CHECK(Timing{.stage_ns = {0, 3}}.bottleneck() == Stage::encoder);
  CHECK_EQ(name(Stage::front_end), "front_end");
}

}  // namespace
