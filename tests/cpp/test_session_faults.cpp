// What must not harm a session: failing stages, cancel, bad input, second callers, close, reset.
#include <limits>
#include <thread>

#include "session_run.h"

namespace {

using namespace session_run;

TEST(a_failed_step_changes_nothing) {
  for (const bool in_flow : {false, true}) {
    for (int failing = 0; failing < 24; ++failing) {
      Stages good;
      good.backbone->script = spoken_script();
      Stages bad;
      bad.backbone->script = spoken_script();
      Session a = make_session(good.duplex());
      Session b = make_session(bad.duplex());
      int calls = 0;
      const auto fail = [&] {
        if (calls++ == failing) throw Error("scripted failure");
      };
      if (in_flow) {
        bad.flow->on_push = fail;
      } else {
        bad.backbone->on_feed = fail;
      }
      Run run_a;
      Run run_b;
      run_a.steps(a, 7);
      for (int i = 0; i < 7; ++i) {
        try {
          run_b.step(b);
        } catch (const Error&) {
          --i;
        }
      }
      CHECK(run_a.samples == run_b.samples);
      CHECK(run_a.events == run_b.events);
      CHECK(good.backbone->fed() == bad.backbone->fed());
    }
  }
}

TEST(a_failure_to_forget_changes_nothing_and_is_tried_again) {
  const auto parts_of = [](Stages& stages) {
    SessionParts parts = stages.duplex();
    parts.duplex->window_positions = 20;
    parts.context = 40;
    return parts;
  };
  for (int failing = 0; failing < 24; ++failing) {
    Stages good;
    Stages bad;
    Session a = make_session(parts_of(good));
    Session b = make_session(parts_of(bad));
    int calls = 0;
    bad.backbone->on_forget = [&] {
      if (calls++ == failing) throw Error("scripted failure");
    };
    // The step behind the forgetting may fail too: what was forgotten is told once, and later.
    bad.backbone->on_feed = [&, n = 0]() mutable {
      if (++n % 5 == 0) throw Error("scripted failure");
    };
    Run run_a;
    Run run_b;
    run_a.steps(a, 40);
    for (int i = 0; i < 40; ++i) {
      const std::int64_t position = b.position();
      try {
        run_b.step(b);
      } catch (const Error&) {
        CHECK(b.position() <= position);
        --i;
      }
    }
    CHECK(calls > failing);
    CHECK(good.backbone->rebases > 0);
    CHECK(run_a.events == run_b.events);
    CHECK(good.backbone->fed() == bad.backbone->fed());
    CHECK_EQ(a.position(), b.position());
  }
}

TEST(a_failed_step_keeps_what_the_penalties_cover) {
  for (int failing = 0; failing < 8; ++failing) {
    std::array<Stages, 2> stages;
    std::array<Run, 2> runs;
    std::vector<Session> sessions;
    for (std::size_t k = 0; k < 2; ++k) {
      SessionParts parts = stages[k].duplex();
      parts.duplex->sampling.temperature = 1.0F;
      parts.duplex->sampling.repetition_penalty = 20.0F;  // so that THINK gives way to SHIFT
      int calls = 0;
      stages[k].flow->on_push = [&] {
        if (calls++ == failing && k == 1) throw Error("scripted failure");
      };
      Session& session = sessions.emplace_back(make_session(std::move(parts)));
      while (runs[k].floors.size() < 30) {
        try {
          runs[k].step(session);
        } catch (const Error&) {  // tried again
        }
      }
      CHECK(calls > failing);
    }
    CHECK(runs[0].count(EventKind::shift) > 0);
    CHECK(runs[0].events == runs[1].events);
    CHECK(stages[0].backbone->fed() == stages[1].backbone->fed());
  }
}

TEST(an_interruption_is_told_even_if_its_step_fails) {
  Stages stages;
  stages.backbone->otherwise = code(3);
  Session session = make_session(stages.turns());
  session.send_text("HI");
  Run run;
  run.steps(session, 2);
  session.interrupt();
  stages.flow->on_push = [] { throw Error("scripted failure"); };
  CHECK_THROWS_MSG(Error, "scripted failure", run.step(session));
  stages.flow->on_push = nullptr;
  CHECK_EQ(run.count(EventKind::reply_ended), 0);
  run.steps(session, 2);
  CHECK_EQ(run.count(EventKind::reply_ended), 1);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::interrupted);
}

TEST(cancel_stops_a_step_and_changes_nothing) {
  Stages stages;
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  Run run;
  run.steps(session, 2);
  session.cancel();
  CHECK_THROWS_MSG(CancelledError, "cancel", run.step(session));
  run.steps(session, 1);  // as if nothing had been
  CHECK(run.floors.back() == Floor::speaking);

  stages.backbone->on_feed = [&] { session.cancel(); };  // while the step is under way
  CHECK_THROWS_MSG(CancelledError, "cancel", run.step(session));
  stages.backbone->on_feed = nullptr;
  run.steps(session, 1);
  CHECK_EQ(run.text(), "BC");
}

TEST(samples_that_are_not_finite_are_muted) {
  Stages stages;
  stages.flow->scale = std::numeric_limits<float>::quiet_NaN();
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  Run run;
  run.steps(session, 5);
  CHECK_EQ(run.find(EventKind::muted)->count, static_cast<std::int64_t>(kChunk));
  for (float sample : run.samples) CHECK_EQ(sample, 0.0F);
}

TEST(bad_input_is_refused_and_nothing_is_lost) {
  Stages stages;
  Session session = make_session(stages.duplex());
  Chunk in{};
  Chunk out{};
  in[17] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_MSG(InputError, "at sample 17", session.step(in, out));
  CHECK_THROWS_MSG(InputError, "3840 samples in",
                   session.step(std::span<const float>(in).first(100), out));
  CHECK_THROWS_MSG(InputError, "expected mode turns", session.end_turn());
  CHECK_THROWS_MSG(InputError, "expected mode turns", session.send_text("HI"));
  in[17] = 0.0F;
  session.step(in, out);
  CHECK_EQ(session.position(), 5);

  Stages others;
  Session turns = make_session(others.turns());
  CHECK_THROWS_MSG(InputError, "at least 240 samples", turns.end_turn());
  CHECK_THROWS_MSG(InputError, "some text", turns.send_text(""));
}

TEST(one_caller_at_a_time_and_close_from_any_thread) {
  Stages stages;
  Session session = make_session(stages.duplex());
  std::string second;
  std::thread closer;
  stages.backbone->on_feed = [&] {
    if (closer.joinable()) return;
    Chunk chunk{};
    try {
      session.step(chunk, chunk);
    } catch (const InputError& error) {
      second = error.what();
    }
    closer = std::thread([&] { session.close(); });
  };
  Chunk in{};
  Chunk out{};
  try {
    for (int i = 0; i < 1000000; ++i) session.step(in, out);
  } catch (const Error&) {  // cancelled by close, or refused because it is closed
  }
  closer.join();
  CHECK(second.find("one caller at a time") != std::string::npos);
  CHECK(second.find("interrupt(), cancel() and close() from any") != std::string::npos);
  CHECK(session.floor() == Floor::closed);
  CHECK_THROWS_MSG(InputError, "closed one", session.step(in, out));
  // A user interface may come too late with any of these.
  session.close();
  session.cancel();
  session.interrupt();
  CHECK(session.floor() == Floor::closed);
}

TEST(reset_starts_a_new_conversation) {
  Stages stages;
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  Run first;
  first.steps(session, 4);
  session.reset();
  CHECK_EQ(session.position(), 4);
  CHECK(session.floor() == Floor::listening);
  stages.backbone->last->draws = stages.backbone->last->committed_draws = 0;
  Run second;
  second.steps(session, 4);
  CHECK(first.samples == second.samples);
  CHECK(first.events == second.events);
}

TEST(seed_and_temperature_draw_within_the_slot) {
  const auto run_with = [](std::uint64_t seed) {
    Stages stages;
    stages.backbone->otherwise = kShift;  // 10 against 0 elsewhere: other ids are rare but possible
    SessionParts parts = stages.duplex();
    parts.duplex->sampling.temperature = 20.0F;
    parts.seed = seed;
    Session session = make_session(std::move(parts));
    Run run;
    run.steps(session, 40);
    return run;
  };
  const Run a = run_with(1);
  const Run b = run_with(1);
  const Run c = run_with(2);
  CHECK(a.events == b.events);
  CHECK(a.samples == b.samples);
  CHECK(!(a.samples == c.samples));
}

}  // namespace
