// Managed turns in a scripted world: when a turn ends, speculation, interruption, tools, faults.
#include "live/transcript_text.h"
#include "turn_world.h"

namespace {

using namespace turn_world;
using Kind = Command::Kind;

TEST(a_turn_is_answered_by_its_speculation) {
  World world;
  world.speak(0, 2000);
  world.run(8000);
  CHECK_EQ(world.trace(), "-SPR-");
  CHECK_EQ(world.count(Kind::start_call), 1u);
  CHECK_EQ(world.count(Kind::commit), 1u);
  CHECK_EQ(world.count(Kind::write_user), 1u);
  CHECK_EQ(world.count(Kind::write_reply), 1u);
  CHECK_EQ(world.heard.size(), 2000u);
}

TEST(a_gap_shorter_than_the_pause_starts_nothing) {
  World world;
  world.speak(0, 1000);
  world.speak(1150, 2000);
  world.run(2150);
  CHECK_EQ(world.count(Kind::start_call), 0u);
  CHECK_EQ(world.trace(), "-S");
}

TEST(a_pause_inside_a_turn_cancels_its_speculation_at_once) {
  World world;
  world.speak(0, 1000);
  world.speak(1400, 2400);
  world.run(8000);
  CHECK_EQ(world.count(Kind::start_call), 2u);
  CHECK_EQ(world.count(Kind::cancel_call), 1u);
  CHECK_EQ(world.time_of(Kind::cancel_call), 1400);
  CHECK_EQ(world.count(Kind::open_turn), 1u);
  CHECK_EQ(world.find(Kind::commit).second.call, 2);
}

TEST(speculations_of_a_turn_are_counted_and_the_reply_comes_without) {
  World world;
  for (int i = 0; i < 4; ++i) world.speak(i * 1400, i * 1400 + 1000);
  world.run(5900);
  CHECK_EQ(world.count(Kind::start_call), 4u);
  CHECK(!world.find(Kind::start_call, 3).second.speculative);
  CHECK_EQ(world.time_of(Kind::start_call, 3), 5200 + 700);
  world.run(12000);
  CHECK_EQ(world.count(Kind::commit), 1u);
  CHECK_EQ(world.trace(), "-SPSPSPSPTR-");
}

TEST(speculation_saves_the_work_or_the_wait_whichever_is_less) {
  for (const auto& [work, latency] : {std::pair{300, 700}, {1000, 1200}}) {
    World world;
    world.making.first_audio = world.making.generation = work;
    world.speak(0, 1000);
    world.run(9000);
    CHECK_EQ(world.heard.front().first, 1000 + latency);
  }
}

TEST(a_resumption_at_the_very_end_of_the_wait) {
  const std::vector<std::pair<int, std::string>> cases = {
      {1699, "-SPS"}, {1700, "-SPR"}, {1701, "-SPR"}};
  for (const auto& [resumed, trace] : cases) {
    World world;
    world.speak(0, 1000);
    world.speak(resumed, resumed + 300);
    world.run(1750);
    CHECK_EQ(world.trace().substr(0, 4), trace);
  }
  World late;  // the reply has no sound yet: the turn goes on as if nothing had been
  late.making.first_audio = late.making.generation = 900;
  late.speak(0, 1000);
  late.speak(1701, 2200);
  late.run(1900);
  CHECK_EQ(late.trace(), "-SPTS");
  CHECK_EQ(late.count(Kind::open_turn), 1u);
}

TEST(the_end_of_turn_model_shortens_and_lengthens_the_wait) {
  for (const auto& [score, date] : {std::pair{0.9, 1300}, {0.1, 3500}}) {
    World world(kScored);
    world.making.first_audio = 50;
    world.speak(0, 1000);
    world.at(1230, {.kind = Event::Kind::eot_score, .turn = 1, .epoch = 0, .score = score});
    world.run(9000);
    CHECK_EQ(world.time_of(Kind::commit), date);
  }
}

TEST(an_answer_for_a_past_epoch_is_dropped_and_counted) {
  World world(kScored);
  world.speak(0, 1000);
  world.speak(1400, 3000);
  world.at(1500, {.kind = Event::Kind::eot_score, .turn = 1, .epoch = 0, .score = 0.9});
  world.at(3300, {.kind = Event::Kind::eot_score, .turn = 1, .epoch = 0, .score = 0.9});
  world.run(3400);
  CHECK_EQ(world.controller.counts().dropped, 2 + 2);  // and what the cancelled call still gave
  CHECK_EQ(world.count(Kind::commit), 0u);
}

TEST(a_final_transcript_that_differs_matters_where_text_makes_the_reply) {
  for (const TurnAbilities& abilities : {kWritten, kTextDriven}) {
    World world(abilities);
    world.speak(0, 1000);
    world.at(1100, transcript(1, "set a timer for fifteen", false));
    world.at(1500, transcript(1, "Set a timer for fifty."));
    world.run(9000);
    const std::size_t calls = abilities.text_driven ? 2 : 1;
    CHECK_EQ(world.count(Kind::start_call), calls);
    CHECK_EQ(world.count(Kind::commit), 1u);
  }
  World same(kTextDriven);
  same.speak(0, 1000);
  same.at(1100, transcript(1, "set a timer, for fifty", false));
  same.at(1500, transcript(1, "Set a timer for fifty."));
  same.run(9000);
  CHECK_EQ(same.count(Kind::start_call), 1u);
}

TEST(a_changed_context_restarts_what_was_begun) {
  World world;
  world.speak(0, 1000);
  world.at(1400, {.kind = Event::Kind::context});
  world.run(9000);
  CHECK_EQ(world.count(Kind::start_call), 2u);
  CHECK_EQ(world.time_of(Kind::cancel_call), 1400);
  CHECK_EQ(world.find(Kind::commit).second.call, 2);
}

TEST(a_speculative_tool_call_runs_at_the_commit_or_never) {
  World resumed;
  resumed.calls[1] = {.tool = 7};
  resumed.speak(0, 1000);
  resumed.speak(1600, 2000);
  resumed.run(9000);
  CHECK_EQ(resumed.count(Kind::run_tool), 0u);
  World committed;
  committed.calls[1] = {.tool = 7};
  committed.speak(0, 1000);
  committed.at(2500, {.kind = Event::Kind::tool_result, .id = 7});
  committed.run(12000);
  CHECK_EQ(committed.count(Kind::run_tool), 1u);
  CHECK_EQ(committed.time_of(Kind::run_tool), 1700);
  // The filler comes to its end, then the result is answered.
  CHECK_EQ(committed.time_of(Kind::insert_result), 3700);
  CHECK_EQ(committed.count(Kind::write_user), 1u);
  CHECK_EQ(committed.trace(), "-SPRTR-");
}

TEST(an_interruption_keeps_what_was_heard) {
  World world;
  world.making.length = 4000;
  world.speak(0, 1000);
  world.speak(1700 + 1234, 5000);
  world.run(20000);
  const auto [time, cut] = world.find(Kind::truncate_reply);
  CHECK_EQ(time, 1700 + 1234 + 500);
  CHECK_EQ(cut.sample, 1234);
  CHECK_EQ(std::count_if(world.heard.begin(), world.heard.end(),
                         [](const auto& ms) { return ms.second == 1; }),
           1234);
  CHECK_EQ(world.find(Kind::open_turn, 1).second.sample, 1700 + 1234 - 500);
  CHECK_EQ(world.controller.counts().interruptions, 1);
}

TEST(a_backchannel_pauses_the_reply_and_it_goes_on_at_the_same_sample) {
  World world;
  world.making.length = 4000;
  world.speak(0, 1000);
  world.speak(3200, 3500);
  world.run(12000);
  CHECK_EQ(world.time_of(Kind::pause_playout), 3200);
  CHECK_EQ(world.time_of(Kind::resume_playout), 3500);
  CHECK_EQ(world.heard.size(), 4000u);
  CHECK_EQ(world.count(Kind::open_turn), 1u);
  CHECK_EQ(world.count(Kind::truncate_reply), 0u);
}

TEST(noise_without_words_is_a_false_interruption) {
  World world(kWritten);
  world.making.length = 6000;
  world.speak(0, 1000);
  world.speak(3200, 4000);
  world.run(20000);
  CHECK_EQ(world.time_of(Kind::resume_playout), 6000);
  CHECK_EQ(world.controller.counts().false_interruptions, 1);
  CHECK_EQ(world.heard.size(), 6000u);
}

TEST(words_decide_where_there_is_a_recognizer) {
  for (const auto& [text, interrupts] : {std::pair{"Uh-huh, yeah.", false}, {"no wait", true}}) {
    World world(kWritten);
    world.making.length = 6000;
    world.speak(0, 1000);
    world.speak(3200, 4000);
    world.at(4300, transcript(2, text));
    world.run(4400);
    CHECK_EQ(world.count(Kind::truncate_reply), interrupts ? 1u : 0u);
    CHECK_EQ(world.time_of(Kind::resume_playout), interrupts ? -1 : 4300);
  }
}

TEST(speech_is_an_interruption_by_its_length_where_nothing_else_tells) {
  World world;
  world.making.length = 4000;
  world.speak(0, 1000);
  world.speak(3200, 4000);
  world.run(3700);
  CHECK_EQ(world.time_of(Kind::truncate_reply), 3700);
}

TEST(a_reply_that_nobody_heard_is_not_in_the_history) {
  World world;
  world.making.sound_at_once = 0;  // it commits, and its first sample never comes out
  world.making.generation = 5000;
  world.speak(0, 1000);
  world.speak(1750, 3000);
  world.run(2400);
  CHECK_EQ(world.count(Kind::drop_reply), 1u);
  CHECK_EQ(world.count(Kind::truncate_reply), 0u);
}

TEST(a_reply_near_its_end_is_not_interrupted) {
  World world;
  world.making.length = 3000;
  world.speak(0, 1000);
  world.speak(4300, 5200);  // 400 ms before the end
  world.run(12000);
  CHECK_EQ(world.count(Kind::pause_playout), 0u);
  CHECK_EQ(std::count_if(world.heard.begin(), world.heard.end(),
                         [](const auto& ms) { return ms.second == 1; }),
           3000);
  CHECK_EQ(world.find(Kind::open_turn, 1).second.sample, 3800);
  CHECK_EQ(world.count(Kind::commit), 2u);
}

TEST(the_beginning_of_a_reply_waits_before_it_falls_silent) {
  World world;
  world.making.length = 4000;
  world.speak(0, 1000);
  world.speak(2000, 2200);  // 300 ms into it: its own echo, or the user's last sound
  world.speak(2300, 4000);  // and this is meant
  world.run(3000);
  CHECK_EQ(world.count(Kind::pause_playout), 0u);
  CHECK_EQ(world.time_of(Kind::truncate_reply), 2800);
}

TEST(speech_before_the_first_sound_goes_on_with_the_turn) {
  World world;
  world.making.first_audio = world.making.generation = 1000;
  world.speak(0, 1000);
  world.speak(1800, 2500);
  world.run(12000);
  CHECK_EQ(world.count(Kind::open_turn), 1u);
  CHECK_EQ(world.count(Kind::write_user), 1u);
  CHECK_EQ(world.trace(), "-SPTSPTR-");
}

TEST(a_reply_that_runs_dry_goes_on) {
  World world;
  world.making.sound_at_once = 500;
  world.making.generation = 1800;  // 300 ms after the 500 ms are out
  world.speak(0, 1000);
  world.run(12000);
  CHECK_EQ(world.trace(), "-SPR-");
  CHECK_EQ(world.controller.counts().underruns, 1);
  CHECK_EQ(world.heard.size(), 2000u);
}

TEST(speech_while_nothing_sounds_is_a_new_turn) {
  World world;
  world.calls[1] = {.length = 500, .tool = 3};
  world.speak(0, 1000);
  world.speak(4000, 5000);  // the reply waits for its tool
  world.run(4000);
  CHECK_EQ(world.trace(), "-SPRS");
  CHECK_EQ(world.find(Kind::truncate_reply).second.sample, 500);
}

TEST(a_speculation_that_fails_is_not_heard_of) {
  World world;
  world.calls[1] = {.fails = true};
  world.speak(0, 1000);
  world.run(12000);
  CHECK_EQ(world.count(Kind::commit), 1u);
  CHECK_EQ(world.count(Kind::report_failure), 0u);
}

TEST(a_reply_that_fails_twice_is_told_and_the_turn_kept) {
  World world;
  world.making.fails = true;
  world.speak(0, 1000);
  world.run(12000);
  CHECK_EQ(world.count(Kind::report_failure), 1u);
  CHECK_EQ(world.count(Kind::write_user), 1u);
  CHECK_EQ(world.trace(), "-SPT-");
}

TEST(a_result_that_comes_while_the_user_speaks_waits) {
  World world;
  world.speak(1000, 3000);
  world.at(2000, {.kind = Event::Kind::tool_result, .id = 5});
  world.run(2500);
  CHECK_EQ(world.count(Kind::insert_result), 0u);
  world.run(12000);
  CHECK_EQ(world.count(Kind::insert_result), 1u);
  CHECK_EQ(world.find(Kind::insert_result).first, world.time_of(Kind::start_call));
  World idle;
  idle.at(2000, {.kind = Event::Kind::tool_result, .id = 5});
  idle.run(9000);
  CHECK_EQ(idle.trace(), "-TR-");
}

TEST(a_result_after_an_interruption_is_kept_and_not_said) {
  World world;
  world.calls[1] = {.length = 4000, .tool = 5};
  world.speak(0, 1000);
  world.speak(3200, 4000);
  world.at(9500, {.kind = Event::Kind::tool_result, .id = 5});
  world.run(20000);
  CHECK_EQ(world.time_of(Kind::insert_result), 9500);
  CHECK_EQ(world.count(Kind::commit), 2u);
  World stopped;
  stopped.calls[1] = {.length = 4000, .tool = 5, .tool_cancellable = true};
  stopped.speak(0, 1000);
  stopped.speak(3200, 4000);
  stopped.run(4000);
  CHECK_EQ(stopped.count(Kind::cancel_tool), 1u);
}

TEST(a_monologue_ends_by_force) {
  World world;
  world.speak(0, 31000);
  world.run(40000);
  CHECK_EQ(world.time_of(Kind::start_call), 30000);
  CHECK(world.count(Kind::commit) >= 1);
}

TEST(a_reset_ends_everything_in_every_state) {
  for (std::int64_t when : {500, 1100, 1500, 1750, 2000, 3300, 3800}) {
    for (Event::Kind kind : {Event::Kind::reset, Event::Kind::device_lost}) {
      World world;
      world.making = {.first_audio = 600, .length = 4000};
      world.speak(0, 1000);
      world.speak(3200, 3600);
      world.at(when, {.kind = kind});
      world.run(when);
      CHECK(world.controller.state() == TurnState::silence);
      CHECK(!world.controller.call_lives());
      for (int i = 0; i < kTurnTimers; ++i)
        CHECK(!world.controller.timer_armed(static_cast<TurnTimer>(i)));
    }
  }
}

TEST(a_model_that_decides_itself_is_only_observed) {
  World world({.native = true});
  world.speak(0, 1000);
  world.at(1400, {.kind = Event::Kind::native_shift});
  world.speak(2000, 4000);
  world.at(2600, {.kind = Event::Kind::native_break});
  world.run(3000);
  CHECK_EQ(world.trace(), "-SPRS");
  CHECK_EQ(world.count(Kind::start_call), 0u);
  CHECK_EQ(world.count(Kind::pause_playout), 0u);
  CHECK_EQ(world.count(Kind::commit), 1u);
}

TEST(backchannels_are_told_by_their_words) {
  for (const char* text : {"", "mm-hm", "Uh huh.", "yeah, right", "嗯，好的。", "OK"})
    CHECK(is_backchannel(text));
  for (const char* text : {"no", "stop", "yes please", "uh", "好的谢谢"})
    CHECK(!is_backchannel(text));
}

}  // namespace
