// Whole turns with scripted stages: prompts, replies, history, limits and interruption.
#include <algorithm>
#include <limits>

#include "session_run.h"

namespace {

using namespace session_run;

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
  CHECK(session.floor() == Floor::preparing);
  run.steps(session, 6);
  CHECK_EQ(run.text(), "BCDEFG");
  CHECK(run.floors.back() == Floor::listening);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::model);
  CHECK_EQ(run.find(EventKind::turn_ended)->sample, 2 * std::int64_t{kChunk});
  CHECK_EQ(run.count(EventKind::turn_ended), 1);
  CHECK_EQ(run.first(0), 2 * std::int64_t{kChunk} + 2 * 240);
  CHECK_EQ(run.first(14), 2 * std::int64_t{kChunk} + 2 * 240 + 14 * 960);
  const std::int64_t held = session.position();
  run.steps(session, 1);
  session.end_turn();
  run.steps(session, 6);
  CHECK(run.floors.back() == Floor::listening);
  CHECK(run.first(34) > 0);
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  const auto at = static_cast<std::size_t>(held);
  CHECK_EQ(fed[at], kEnd);  // the last draw of the first turn is read first
  CHECK_EQ(fed[at + 1], 'N' - 'A');
  // Every chunk since the reply's end belongs to the next turn.
  const auto after = std::find(fed.begin() + held + 2, fed.end(), 'H' - 'A');
  // The step that played the reply's last sample ends in listening, but did not listen itself.
  const auto listened =
      std::count(run.floors.begin() + 2, run.floors.end() - 6, Floor::listening) - 1;
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
  CHECK(run_b.floors[2] == Floor::preparing);
  CHECK(whole.backbone->fed() == portions.backbone->fed());
  CHECK(run_a.first(0) < run_b.first(0));
}

TEST(a_long_turn_is_encoded_while_it_is_spoken) {
  for (const std::size_t n : {188U, 190U}) {  // 30.08 s and 30.4 s
    Stages stages;
    stages.backbone->script = {kEnd};
    Session session = make_session(stages.turns());
    Run run;
    run.steps(session, n);
    CHECK_EQ(stages.encoder->segments, 1);
    session.end_turn();
    run.steps(session, 1);
    // The first segment gives 188 rows: what is left of the shorter turn adds none.
    CHECK_EQ(stages.encoder->segments, n == 188 ? 1 : 2);
    const std::vector<std::int32_t> fed = stages.backbone->fed();
    CHECK_EQ(static_cast<std::size_t>(std::count(fed.begin(), fed.end(), -1)), n);
  }
}

TEST(a_last_segment_may_be_encoded_without_its_silence) {
  for (const bool shorter : {false, true}) {
    Stages stages;
    stages.backbone->script = {kEnd};
    SessionParts parts = stages.turns();
    parts.turns->short_segments = shorter;
    Session session = make_session(std::move(parts));
    Run run;
    run.steps(session, 198);  // 31.68 s: a whole segment and 10 features
    session.end_turn();
    run.steps(session, 1);
    const std::vector<std::size_t> wanted = {3000, shorter ? 11U * 16 : 3000};
    CHECK_EQ(stages.encoder->mel_frames, wanted);
    const std::vector<std::int32_t> fed = stages.backbone->fed();
    CHECK_EQ(std::count(fed.begin(), fed.end(), -1), 198);
  }
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
  CHECK(run.floors.back() == Floor::listening);
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
  CHECK(run.floors.back() == Floor::listening);
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
  CHECK(run.floors.back() == Floor::listening);
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
  CHECK(run.floors.back() == Floor::listening);
  CHECK(session.position() <= 30);
  CHECK_THROWS_MSG(ContextError, "reset()", session.send_text("AGAIN"));
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
  CHECK(run.floors.back() == Floor::listening);
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

TEST(an_interruption_says_what_was_heard) {
  const auto session_of = [](Stages& stages) {
    stages.backbone->script = {};
    for (int k = 0; k < 20; ++k) stages.backbone->script.push_back(code(k));
    stages.backbone->script.push_back(kEnd);
    Session session = make_session(stages.turns());
    session.send_text("HI");
    return session;
  };
  // Twelve codes were played, and the loudspeaker is at the end of the sixth; then a bit before.
  for (const std::int64_t early : {0, 1}) {
    Stages stages;
    Session session = session_of(stages);
    Run run;
    run.steps(session, 3);
    const std::int64_t until = 6 * 960 - early;
    session.interrupt(until);
    run.steps(session, 1);
    CHECK_EQ(stages.backbone->fed().back(), code(5 - static_cast<int>(early)));
    const Seen* ended = run.find(EventKind::reply_ended);
    CHECK(ended->reason == EndReason::interrupted);
    CHECK_EQ(ended->count, until);
  }
  // A place ahead of what was played counts as all of it.
  Stages ahead;
  Session session = session_of(ahead);
  Run run;
  run.steps(session, 2);
  session.interrupt(1000000);
  run.steps(session, 1);
  CHECK_EQ(ahead.backbone->fed().back(), code(6));  // code 7 was drawn, and is not read yet
  CHECK_EQ(run.find(EventKind::reply_ended)->count, 2 * std::int64_t{kChunk});
}

TEST(a_loudspeaker_may_be_behind_the_end_of_a_reply) {
  for (const int heard : {0, 6, 8}) {  // codes
    Stages stages;
    stages.backbone->script = {code(0), code(1), code(2), code(3), code(4),
                               code(5), code(6), code(7), kEnd};
    Session session = make_session(stages.turns());
    session.send_text("HI");
    Run run;
    run.steps(session, 3);
    CHECK(session.floor() == Floor::listening);
    session.interrupt(heard * 960);
    session.send_text("YOU");
    run.steps(session, 1);
    CHECK_EQ(run.count(EventKind::reply_ended), 1);  // it was told before
    const std::vector<std::int32_t> fed = stages.backbone->fed();
    const auto second = std::find(fed.begin(), fed.end(), 'U' - 'A');
    const auto n_codes =
        std::count_if(fed.begin(), second, [](std::int32_t id) { return id >= kAudio; });
    CHECK_EQ(n_codes, heard);
    CHECK_EQ(std::count(fed.begin(), second, kEnd), 1);  // closed in each case
  }
}

TEST(an_interruption_before_any_sound_forgets_what_was_drawn) {
  Stages stages;
  stages.backbone->script = {1, code(0), code(1)};
  SessionParts parts = stages.turns();
  parts.turns->max_tokens_per_step = 3;  // two codes wait for a whole chunk of them
  Session session = make_session(std::move(parts));
  session.send_text("HI");
  Run run;
  run.steps(session, 1);
  CHECK_EQ(stages.backbone->fed().back(), code(0));
  session.interrupt();
  run.steps(session, 1);
  CHECK_EQ(stages.backbone->fed().back(), 1);
}

TEST(a_first_turn_that_was_abandoned_leaves_no_trace) {
  Stages fresh;
  fresh.backbone->script = {kEnd};
  Session wanted = make_session(fresh.turns());
  wanted.send_text("HI");
  Run run;
  run.steps(wanted, 1);

  Stages stages;
  stages.backbone->script = {kEnd};
  SessionParts parts = stages.turns();
  parts.prefill_budget = 3;
  Session session = make_session(std::move(parts));
  session.send_text("NO");
  run.steps(session, 1);
  CHECK(session.floor() == Floor::preparing);
  session.interrupt();
  run.steps(session, 1);
  CHECK(session.floor() == Floor::listening);
  session.send_text("HI");
  run.steps(session, 4);
  CHECK(stages.backbone->fed() == fresh.backbone->fed());  // the system prompt is read
}

TEST(an_interrupt_that_came_too_late_spares_the_next_turn) {
  Stages stages;
  stages.backbone->script = {1, kEnd};
  Session session = make_session(stages.turns());
  session.interrupt();  // nothing is under way
  session.send_text("HI");
  Run run;
  run.steps(session, 2);
  CHECK_EQ(run.text(), "B");
}

TEST(a_limit_beyond_the_context_costs_no_memory) {
  Stages stages;
  stages.backbone->script = {code(0), kEnd};
  SessionParts parts = stages.turns();
  parts.turns->max_new_tokens = std::numeric_limits<int>::max();
  Session session = make_session(std::move(parts));
  session.send_text("HI");
  Run run;
  run.steps(session, 2);
  CHECK_EQ(run.first(0), 0);
}

TEST(ids_behind_the_codes_make_no_sound) {
  Stages stages;
  stages.backbone->script = {kAudio + 90, code(0), kEnd};
  SessionParts parts = stages.turns();
  parts.vocabulary.audio_codes = 90;
  Session session = make_session(std::move(parts));
  session.send_text("HI");
  Run run;
  run.steps(session, 2);
  CHECK_EQ(run.first(0), 0);
}

}  // namespace
