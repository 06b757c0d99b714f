// The duplex loop with scripted stages: THINK, SHIFT, speaking, BREAK, interruption, window.
#include "session/think/slots.h"
#include "session_run.h"

namespace {

using namespace session_run;

TEST(think_shift_speak_break) {
  Stages stages;
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  CHECK_EQ(session.position(), 4);  // "P" and "SYS"
  Run run;
  run.steps(session, 7);
  const std::vector<Floor> wanted = {Floor::listening, Floor::listening, Floor::speaking,
                                     Floor::speaking,  Floor::speaking,  Floor::listening,
                                     Floor::listening};
  CHECK(run.floors == wanted);
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

TEST(a_speaking_chunk_is_six_positions_in_five_passes) {
  Stages stages;
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  std::vector<scripted::Backbone::Pass>& passes = stages.backbone->passes;
  const auto positions_of_step = [&] {
    passes.clear();
    Run run;
    run.step(session);
    std::vector<std::size_t> positions;
    for (const auto& pass : passes) {
      CHECK(pass.logits);  // every pass ends in a draw
      positions.push_back(pass.positions);
    }
    return positions;
  };
  const std::vector<std::size_t> speaking = {2, 1, 1, 1, 1};
  CHECK_EQ(positions_of_step(), (std::vector<std::size_t>{1}));  // nothing was drawn before
  CHECK_EQ(positions_of_step(), (std::vector<std::size_t>{2}));  // THINK and the feature
  CHECK_EQ(positions_of_step(),
           (std::vector<std::size_t>{2, 1, 1, 1, 1, 1}));  // SHIFT, then speech
  CHECK_EQ(positions_of_step(), speaking);
  CHECK_EQ(positions_of_step(), speaking);
  CHECK_EQ(positions_of_step(), (std::vector<std::size_t>{2}));  // BREAK
}

TEST(logits_are_computed_only_where_they_are_sampled) {
  Stages stages;
  stages.backbone->script = {kShift, 1, code(0), code(1), code(2), code(3)};
  SessionParts parts = stages.duplex();
  Session session = make_session(std::move(parts));
  CHECK(!stages.backbone->passes.front().logits);  // the system prompt
  Run run;
  run.steps(session, 1);
  session.interrupt();
  stages.backbone->passes.clear();
  run.steps(session, 1);  // the BREAK is not drawn but made
  REQUIRE(stages.backbone->passes.size() == 1);
  CHECK(!stages.backbone->passes[0].logits);
}

TEST(the_look_ahead_is_a_constant_delay) {
  Stages stages(4, 13);  // one chunk of codes, 13 latent frames
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  CHECK_EQ(session.delay_samples(), std::size_t{4 * 960 + 13 * 240});
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
  CHECK_NEAR(run.samples[start + 720], sound(0), kNear);  // code 0's fourth latent frame
  CHECK_NEAR(run.samples[start + 960], sound(1), kNear);  // borders stay where they are
}

TEST(the_tail_of_a_voice_is_heard_before_its_first_code) {
  Stages stages(0, 0);
  stages.flow->tail = 3;
  stages.backbone->script = spoken_script();
  Session session = make_session(stages.duplex());
  CHECK_EQ(session.delay_samples(), std::size_t{3 * 240});
  Run run;
  run.steps(session, 4);
  const std::size_t start = 2 * kChunk;
  CHECK_NEAR(run.samples[start], -1.0F / 1000, kNear);
  CHECK_NEAR(run.samples[start + 719], -1.0F / 1000, kNear);
  CHECK_NEAR(run.samples[start + 720], sound(0), kNear);
  CHECK_NEAR(run.samples[start + 720 + 960], sound(1), kNear);
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
    const float* chunk = run.samples.data() + kChunk;      // the one that holds the BREAK
    CHECK_NEAR(run.samples[kChunk - 1], sound(9), kNear);  // loud right before it
    CHECK_NEAR(chunk[0], sound(9) * 479 / 480, kNear);
    CHECK_NEAR(chunk[239], sound(9) / 2, kNear);
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
  CHECK(run.floors.back() == Floor::listening);
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
    CHECK(session.position() <= 4 + 20 + 2);  // the last chunk came on top
  }
  // The step that forgets says so, at its own place.
  const Seen* first = run.find(EventKind::window);
  CHECK_EQ(first->count, 1);                           // the first chunk was a feature alone
  CHECK_EQ(first->sample, 11 * std::int64_t{kChunk});  // eleven chunks make 21 positions
  CHECK(run.count(EventKind::window) > 100);
  CHECK(stages.backbone->rebases > 0);
  CHECK(stages.backbone->last->next <= 64 + 3);
  CHECK_EQ(stages.backbone->evicted.front().first, 4);  // the prompt stays
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  CHECK_EQ(fed[0], 'P' - 'A');
}

TEST(a_window_without_a_prompt_never_moves) {
  Stages stages;
  SessionParts parts = stages.duplex();
  parts.duplex->prompt = "";
  parts.duplex->window_positions = 20;
  parts.context = 64;
  Session session = make_session(std::move(parts));
  Run run;
  run.steps(session, 200);
  CHECK_EQ(stages.backbone->rebases, 0);
  CHECK(session.position() <= 20 + 2);
  CHECK_EQ(stages.backbone->last->next, 399);  // distances stay below the window all the same
}

TEST(kinds_that_overlap_give_an_id_once) {
  Vocabulary vocabulary{110, 110, 100, 105, {{"think", kThink}}};
  vocabulary.text_pad = 7;
  const Slot slot =
      compile_slot({SlotKind::text, SlotKind::text_pad, SlotKind::text}, vocabulary, 210);
  REQUIRE(slot.size() == 2);
  CHECK_EQ(slot[0].end, kThink);
  CHECK_EQ(slot[1].begin, kThink + 1);
}

TEST(a_kind_without_an_id_is_refused) {
  const Vocabulary vocabulary{110, 110, 100, 105, {}};
  for (const SlotKind kind :
       {SlotKind::think, SlotKind::shift, SlotKind::break_, SlotKind::text_pad})
    CHECK_THROWS_MSG(BundleError, "[session.plan]", compile_slot({kind}, vocabulary, 210));
}

}  // namespace
