// The chunk loop with scripted stages: every turn transition, failure, interruption and limit.
#include <array>
#include <cmath>
#include <limits>
#include <thread>

#include "check.h"
#include "scripted_stages.h"
#include "session/session.h"

namespace {

using namespace parley;
using scripted::kAudio;
using scripted::kBreak;
using scripted::kEnd;
using scripted::kPad;
using scripted::kShift;
using scripted::kThink;
using scripted::Stages;

constexpr std::size_t kChunk = 3840;
using Chunk = std::array<float, kChunk>;

struct Seen {
  EventKind kind;
  std::int64_t sample;
  EndReason reason;
  std::string text;
  std::int64_t count;
  bool operator==(const Seen&) const = default;
};

// Everything that a run gave, so that two runs can be compared.
struct Run {
  std::vector<float> samples;
  std::vector<Seen> events;
  std::vector<State> states;

  void step(Session& session, float input = 0.0F) {
    Chunk in;
    in.fill(input);
    Chunk out;
    const Step step = session.step(in, out);
    samples.insert(samples.end(), out.begin(), out.end());
    for (const Event& e : step.events)
      events.push_back({e.kind, e.sample, e.reason, std::string(e.text()), e.count});
    states.push_back(step.state);
  }
  void steps(Session& session, int n) {
    for (int i = 0; i < n; ++i) step(session);
  }
  const Seen* find(EventKind kind) const {
    for (const Seen& e : events)
      if (e.kind == kind) return &e;
    return nullptr;
  }
  int count(EventKind kind) const {
    int n = 0;
    for (const Seen& e : events) n += e.kind == kind;
    return n;
  }
  std::string text() const {
    std::string all;
    for (const Seen& e : events) all += e.text;
    return all;
  }
  // Where a code's sound begins; its samples are (code + 1) / 1000.
  std::int64_t first(int code) const {
    for (std::size_t i = 0; i < samples.size(); ++i)
      if (std::abs(samples[i] - static_cast<float>(code + 1) / 1000.0F) < 1e-7F)
        return static_cast<std::int64_t>(i);
    return -1;
  }
};

std::int32_t code(int k) {
  return kAudio + k;
}

// THINK twice, a reply of three chunks (the text ends after two pieces), BREAK, then THINK.
std::vector<std::int32_t> spoken_script() {
  return {kThink,  kThink,  kShift,  1,    code(0), code(1), code(2),  code(3),  2,     code(4),
          code(5), code(6), code(7), kPad, code(8), code(9), code(10), code(11), kBreak};
}

TEST(think_shift_speak_break) {
  Stages stages;
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  CHECK_EQ(session.position(), 4);  // "P" and "SYS"
  Run run;
  run.steps(session, 7);
  const std::vector<State> wanted = {State::listening, State::listening, State::speaking,
                                     State::speaking,  State::speaking,  State::listening,
                                     State::listening};
  CHECK(run.states == wanted);
  CHECK_EQ(run.text(), "BC");
  CHECK_EQ(run.count(EventKind::think), 3);
  CHECK_EQ(run.count(EventKind::audio), 3);
  CHECK_EQ(run.find(EventKind::shift)->sample, 2 * std::int64_t{kChunk});
  CHECK(run.find(EventKind::turn_ended) != nullptr);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::break_);
  // No look-ahead, so SHIFT's own chunk already sounds, and text-pad is silent but audio goes on.
  CHECK_EQ(run.first(0), 2 * std::int64_t{kChunk});
  CHECK_EQ(run.first(11), 2 * std::int64_t{kChunk} + 11 * 960);
  CHECK_EQ(run.samples[5 * kChunk + 480], 0.0F);  // behind the fade
}

TEST(a_chunk_is_read_as_last_draw_and_feature) {
  Stages stages;
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  Run run;
  run.steps(session, 4);
  const std::vector<std::int32_t> wanted = {
      'P' - 'A', 'S' - 'A', 'Y' - 'A', 'S' - 'A',  // the prompt
      -1,                                          // the first feature
      kThink,    -1,        kThink,    -1,        kShift,  1,       code(0), code(1),
      code(2),   code(3),   -1,        2,         code(4), code(5), code(6)};
  CHECK(stages.backbone->fed() == wanted);
}

TEST(the_look_ahead_is_a_constant_delay) {
  Stages stages(4, 13);  // one chunk of codes, 13 latent frames
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  CHECK_EQ(session.delay_samples(), 4 * 960 + 13 * 240);
  Run run;
  run.steps(session, 5);
  CHECK_EQ(run.first(0), 2 * std::int64_t{kChunk} + 4 * 960 + 13 * 240);
  CHECK_EQ(run.count(EventKind::underrun), 0);
}

TEST(latents_under_the_voice_prompt_are_silence) {
  Stages stages(0, 0, 3);
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  Run run;
  run.steps(session, 4);
  const std::size_t start = 2 * kChunk;
  CHECK_EQ(run.samples[start + 719], 0.0F);
  CHECK_NEAR(run.samples[start + 720], 0.001, 1e-7);  // code 0's fourth latent frame
  CHECK_NEAR(run.samples[start + 960], 0.002, 1e-7);  // borders stay where they are
}

TEST(break_fades_what_the_stages_hold_back) {
  for (const std::size_t lookahead : {0, 13}) {
    Stages stages(0, lookahead);
    stages.backbone->script = {kShift, 1, code(9), code(9), code(9), code(9), kBreak};
    SessionParts parts = stages.duplex();
    parts.duplex->fade_ms = 20;  // 480 samples
    Session session = make_session(std::move(parts));
    Run run;
    run.steps(session, 3);
    const float* chunk = run.samples.data() + kChunk;  // the one that holds the BREAK
    CHECK_NEAR(run.samples[kChunk - 1], 0.01, 1e-7);   // loud right before it
    CHECK_NEAR(chunk[0], 0.01 * 479 / 480, 1e-7);
    CHECK_NEAR(chunk[239], 0.005, 1e-7);
    for (std::size_t i = 479; i < 2 * kChunk; ++i) CHECK_EQ(chunk[i], 0.0F);
  }
}

TEST(an_interruption_makes_the_model_read_a_break) {
  Stages stages;
  stages.backbone->script = {kShift, 1, code(0), code(1), code(2), code(3)};
  stages.backbone->otherwise = code(5);  // the model itself would go on
  Session session = make_session(stages.duplex());
  Run run;
  run.steps(session, 1);
  session.interrupt();
  run.steps(session, 1);
  CHECK(run.states.back() == State::listening);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::interrupted);
  stages.backbone->otherwise = kThink;
  run.steps(session, 1);
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  CHECK_EQ(fed[fed.size() - 2], kBreak);  // the history keeps all, and the BREAK
}

TEST(an_endless_reply_is_stopped) {
  Stages stages;
  stages.backbone->otherwise = kShift;
  SessionParts parts = stages.duplex();
  parts.duplex->max_reply_chunks = 3;
  stages.backbone->script = {kShift};
  for (int i = 0; i < 10; ++i)
    stages.backbone->script.insert(stages.backbone->script.end(),
                                   {1, code(1), code(1), code(1), code(1)});
  Session session = make_session(std::move(parts));
  Run run;
  run.steps(session, 4);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::max_tokens);
  CHECK_EQ(run.count(EventKind::audio), 3);
}

TEST(shift_may_start_to_speak_in_the_next_chunk) {
  Stages stages;
  stages.backbone->script = {kShift, 1, code(0), code(1), code(2), code(3)};
  SessionParts parts = stages.duplex();
  parts.duplex->plans.shift.clear();
  Session session = make_session(std::move(parts));
  Run run;
  run.steps(session, 2);
  CHECK_EQ(run.first(0), std::int64_t{kChunk});
}

TEST(old_chunks_are_forgotten_and_positions_start_over) {
  Stages stages;
  SessionParts parts = stages.duplex();
  parts.duplex->window_positions = 20;
  parts.context = 64;
  Session session = make_session(std::move(parts));
  Run run;
  for (int i = 0; i < 200; ++i) {
    run.step(session);
    CHECK(session.position() <= 4 + 20);
  }
  CHECK(run.count(EventKind::window) > 100);
  CHECK(stages.backbone->rebases > 0);
  CHECK(stages.backbone->last->next <= 64 + 3);
  CHECK_EQ(stages.backbone->evicted.front().first, 4);  // the prompt stays
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  CHECK_EQ(fed[0], 'P' - 'A');
}

// Five text and fifteen audio ids, as published, then the end.
std::vector<std::int32_t> turn_script(int start) {
  std::vector<std::int32_t> script = {1, 2, 3, 4, 5};
  for (int k = 0; k < 15; ++k) script.push_back(code(start + k));
  script.push_back(6);
  script.push_back(kEnd);
  return script;
}

TEST(turns_share_one_history) {
  Stages stages(0, 2);
  stages.backbone->script = turn_script(0);
  const std::vector<std::int32_t> second = turn_script(20);
  stages.backbone->script.insert(stages.backbone->script.end(), second.begin(), second.end());
  Session session = make_session(stages.turns());
  Run run;
  run.steps(session, 2);  // 0.32 s: 32 -> 16 -> 8 -> 4 -> 2 positions
  CHECK_EQ(session.position(), 0);
  session.end_turn();
  CHECK(session.state() == State::preparing);
  run.steps(session, 6);
  CHECK_EQ(run.text(), "BCDEFG");
  CHECK(run.states.back() == State::listening);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::model);
  CHECK_EQ(run.first(0), 2 * std::int64_t{kChunk} + 2 * 240);
  CHECK_EQ(run.first(14), 2 * std::int64_t{kChunk} + 2 * 240 + 14 * 960);
  const std::int64_t held = session.position();
  run.steps(session, 1);
  session.end_turn();
  run.steps(session, 6);
  CHECK(run.states.back() == State::listening);
  CHECK(run.first(34) > 0);
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  const auto at = static_cast<std::size_t>(held);
  CHECK_EQ(fed[at], kEnd);  // the last draw of the first turn is read first
  CHECK_EQ(fed[at + 1], 'N' - 'A');
  // Every chunk since the reply's end belongs to the next turn.
  const auto after = std::find(fed.begin() + held + 2, fed.end(), 'H' - 'A');
  // The step that played the reply's last sample ends in listening, but did not listen itself.
  const auto listened =
      std::count(run.states.begin() + 2, run.states.end() - 6, State::listening) - 1;
  CHECK_EQ(after - (fed.begin() + held + 2), listened);
  CHECK(std::all_of(fed.begin() + held + 2, after, [](std::int32_t id) { return id == -1; }));
}

TEST(a_prompt_is_read_in_portions) {
  Stages whole;
  whole.backbone->script = turn_script(0);
  Stages portions;
  portions.backbone->script = turn_script(0);
  Session a = make_session(whole.turns());
  SessionParts parts = portions.turns();
  parts.prefill_budget = 3;
  Session b = make_session(std::move(parts));
  Run run_a;
  Run run_b;
  run_a.steps(a, 2);
  run_b.steps(b, 2);
  a.end_turn();
  b.end_turn();
  run_a.steps(a, 8);
  run_b.steps(b, 12);
  CHECK(run_b.states[2] == State::preparing);
  CHECK(whole.backbone->fed() == portions.backbone->fed());
  CHECK(run_a.first(0) < run_b.first(0));
}

TEST(a_long_turn_is_encoded_while_it_is_spoken) {
  Stages stages;
  stages.backbone->script = {kEnd};
  Session session = make_session(stages.turns());
  Run run;
  run.steps(session, 188);  // 30.08 s
  CHECK_EQ(stages.encoder->segments, 1);
  session.end_turn();
  run.steps(session, 1);
  CHECK_EQ(stages.encoder->segments, 2);
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  CHECK_EQ(std::count(fed.begin(), fed.end(), -1), 188);
}

TEST(text_can_take_the_place_of_speech) {
  Stages stages;
  stages.backbone->script = turn_script(0);
  Session session = make_session(stages.turns());
  session.send_text("HI");
  Run run;
  run.steps(session, 6);
  CHECK_EQ(run.text(), "BCDEFG");
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  CHECK_EQ(fed[4], 'T' - 'A');
  CHECK_EQ(fed[5], 'H' - 'A');
  CHECK_EQ(fed[6], 'I' - 'A');
}

TEST(a_reply_without_sound_ends_too) {
  Stages stages;
  stages.backbone->script = {1, 2, kEnd};
  Session session = make_session(stages.turns());
  session.send_text("HI");
  Run run;
  run.steps(session, 2);
  CHECK_EQ(run.text(), "BC");
  CHECK(run.states.back() == State::listening);
  CHECK_EQ(run.count(EventKind::underrun), 0);
}

TEST(a_reply_of_fewer_codes_than_a_chunk_is_heard) {
  Stages stages(0, 13);
  stages.backbone->script = {code(7), code(8), kEnd};
  Session session = make_session(stages.turns());
  session.send_text("HI");
  Run run;
  run.steps(session, 3);
  CHECK_EQ(run.first(7), 13 * 240);
  CHECK_EQ(run.first(8), 13 * 240 + 960);
  CHECK(run.states.back() == State::listening);
}

TEST(max_new_tokens_ends_a_reply) {
  Stages stages;
  stages.backbone->otherwise = code(3);
  SessionParts parts = stages.turns();
  parts.turns->max_new_tokens = 10;
  Session session = make_session(std::move(parts));
  session.send_text("HI");
  Run run;
  run.steps(session, 5);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::max_tokens);
  CHECK(run.states.back() == State::listening);
}

TEST(the_end_of_the_context_ends_a_reply) {
  Stages stages;
  stages.backbone->otherwise = code(3);
  SessionParts parts = stages.turns();
  parts.context = 30;
  Session session = make_session(std::move(parts));
  session.send_text("HI");
  Run run;
  run.steps(session, 12);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::context);
  CHECK(run.states.back() == State::listening);
  CHECK(session.position() <= 30);
  CHECK_THROWS_MSG(ContextError, "do reset()", session.send_text("AGAIN"));
  session.reset();
  CHECK_EQ(session.position(), 0);
  session.send_text("HI");
}

TEST(a_turn_longer_than_the_context_is_an_error) {
  Stages stages;
  SessionParts parts = stages.turns();
  parts.context = 20;
  Session session = make_session(std::move(parts));
  Run run;
  run.steps(session, 20);
  CHECK_THROWS_MSG(ContextError, "at most 20 positions", run.step(session));
  CHECK_THROWS_MSG(ContextError, "say less", session.end_turn());  // no room for the prompt's text
  session.reset();
  run.step(session);
  session.end_turn();
}

TEST(an_interrupted_turn_keeps_what_was_played) {
  Stages stages;
  stages.backbone->script = {1, 2};
  for (int k = 0; k < 16; ++k) stages.backbone->script.push_back(code(k));
  Session session = make_session(stages.turns());
  session.send_text("HI");
  Run run;
  run.steps(session, 2);  // codes 0..7 were heard, 7 is not read yet
  session.interrupt();
  run.steps(session, 1);
  CHECK(run.states.back() == State::listening);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::interrupted);
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  CHECK_EQ(fed.back(), code(6));
  session.send_text("HI");
  run.steps(session, 1);
  CHECK_EQ(stages.backbone->fed()[fed.size()], kEnd);  // closes the reply that was cut
}

TEST(an_interruption_forgets_what_was_not_heard) {
  Stages stages(8, 0);  // two chunks of look-ahead: much is drawn that nobody heard
  stages.backbone->script = {};
  for (int k = 0; k < 20; ++k) stages.backbone->script.push_back(code(k));
  Session session = make_session(stages.turns());
  session.send_text("HI");
  Run run;
  run.steps(session, 3);  // 12 codes drawn; two chunks of silence, then codes 0..3 heard
  CHECK_EQ(run.first(0), 2 * std::int64_t{kChunk});
  session.interrupt();
  run.steps(session, 1);
  CHECK_EQ(stages.backbone->fed().back(), code(3));
}

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

TEST(cancel_stops_a_step_and_changes_nothing) {
  Stages stages;
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  Run run;
  run.steps(session, 2);
  session.cancel();
  CHECK_THROWS_MSG(CancelledError, "cancel", run.step(session));
  run.steps(session, 1);  // as if nothing had been
  CHECK(run.states.back() == State::speaking);

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
  CHECK(session.state() == State::closed);
  CHECK_THROWS_MSG(InputError, "closed one", session.step(in, out));
  session.close();  // twice is fine
}

TEST(reset_starts_a_new_conversation) {
  Stages stages;
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  Run first;
  first.steps(session, 4);
  session.reset();
  CHECK_EQ(session.position(), 4);
  CHECK(session.state() == State::listening);
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
