// Managed turns through the driver: the controller's scenarios on sessions with scripted minds.
#include <random>

#include "managed_talk.h"

namespace {

using namespace managed_talk;
using Kind = Command::Kind;

constexpr int kChunkMs = 160;

std::vector<int> codes(int first, int last) {
  std::vector<int> all;
  for (int k = first; k < last; ++k) all.push_back(k);
  return all;
}

TEST(a_turn_is_answered_by_its_speculation) {
  Talk talk({{0, 2000}}, reply_script(0, 50));
  talk.run(8);
  CHECK_EQ(talk.count(Kind::start_call), 1U);
  CHECK_EQ(talk.count(Kind::commit), 1U);
  CHECK_EQ(talk.count(Kind::write_reply), 1U);
  CHECK(talk.heard() == codes(0, 50));
  CHECK_EQ(talk.text(), "BCDEF");
  CHECK(talk.floors.back() == Floor::listening);
  CHECK_EQ(talk.count(EventKind::turn_ended), 1);
  CHECK_EQ(talk.count(EventKind::reply_started), 1);
  CHECK_EQ(talk.count(EventKind::reply_ended), 1);
  REQUIRE(talk.turns.size() == 1);
  const TurnReport& turn = talk.turns[0];
  CHECK(turn.speculative);
  CHECK_EQ(turn.calls_started, 1);
  CHECK_EQ(turn.calls_cancelled, 0);
  CHECK_NEAR(*turn.speech_end, 2.0, check::tolerance("VOICE_BLOCK_S"));
  CHECK_NEAR(*turn.pause - *turn.speech_end, 0.2, check::tolerance("VOICE_BLOCK_S"));
  CHECK_NEAR(*turn.commit - *turn.speech_end, 0.7, check::tolerance("VOICE_BLOCK_S"));
  CHECK_NEAR(*turn.audio_out * 1000, talk.first_sound_ms(), 0);
  CHECK_NEAR(*turn.reply_end * 1000, talk.last_sound_ms(), 0);
  // The commit falls into a chunk, whose end lets the sound out.
  CHECK(*turn.latency() < 0.7 + 2 * kChunkMs / 1000.0);
}

TEST(speculation_saves_the_work_or_the_wait_whichever_is_less) {
  // A prompt in portions: by three positions a step the work is longer than the wait, and one step
  // is saved since the speculation hears less silence.
  for (const auto& [budget, saved] : {std::pair{3, 0.5 + 0.16}, {8, 0.32}}) {
    double latency[2] = {};
    for (const int speculations : {0, 3}) {
      TurnTimers timers;
      timers.max_speculations = speculations;
      Talk talk({{0, 2000}}, reply_script(0, 20), timers, {}, {.prefill_budget = budget});
      talk.run(9);
      REQUIRE(talk.turns.size() == 1);
      CHECK_EQ(talk.turns[0].speculative, speculations > 0);
      latency[speculations > 0] = *talk.turns[0].latency();
    }
    // What is saved is whole chunks.
    CHECK_NEAR(latency[0] - latency[1], saved, kChunkMs / 1000.0);
  }
}

TEST(a_gap_shorter_than_the_pause_starts_nothing) {
  Talk talk({{0, 1000}, {1150, 2000}}, reply_script(0, 20));
  talk.run(2.08);
  CHECK_EQ(talk.count(Kind::start_call), 0U);
}

TEST(a_pause_inside_a_turn_costs_no_history) {
  std::vector<float> samples[2];
  std::int64_t position[2] = {};
  for (const int speculations : {0, 3}) {
    TurnTimers timers;
    timers.max_speculations = speculations;
    Talk talk({{0, 1000}, {1600, 2400}}, reply_script(0, 50), timers);
    talk.run(8);
    CHECK_EQ(talk.count(Kind::start_call), speculations > 0 ? 2U : 1U);
    CHECK_EQ(talk.count(Kind::cancel_call), speculations > 0 ? 1U : 0U);
    CHECK_EQ(talk.count(Kind::open_turn), 1U);
    CHECK(talk.heard() == codes(0, 50));
    REQUIRE(talk.turns.size() == 1);
    CHECK_EQ(talk.turns[0].wasted_tokens > 0, speculations > 0);
    position[speculations > 0] = talk.driver.position();
    if (speculations == 0) {  // what was heard until the reply began is a part of the turn
      timers.pause = 700;
      timers.max_speculations = 1;
      Talk later({{0, 1000}, {1600, 2400}}, reply_script(0, 50), timers);
      later.run(8);
      CHECK_EQ(later.driver.position(), talk.driver.position());
    }
  }
  CHECK(position[1] < position[0]);  // the speculation heard less of the silence
}

TEST(speculations_of_a_turn_are_counted_and_the_reply_comes_without) {
  Talk talk({{0, 1000}, {1400, 2400}, {2800, 3800}, {4200, 5200}}, reply_script(0, 20));
  talk.run(10);
  CHECK_EQ(talk.count(Kind::start_call), 4U);
  CHECK_EQ(talk.count(Kind::commit), 1U);
  REQUIRE(talk.turns.size() == 1);
  CHECK(!talk.turns[0].speculative);
  CHECK_EQ(talk.turns[0].calls_cancelled, 3);
}

TEST(speech_before_the_first_sound_goes_on_with_the_turn) {
  TurnTimers timers;
  timers.max_speculations = 0;
  // It resumes just before the wait is over: known 50 ms later, when the turn is settled.
  Talk talk({{0, 1000}, {1650, 2500}}, reply_script(0, 20), timers);
  talk.run(8);
  CHECK_EQ(talk.count(Kind::open_turn), 1U);
  CHECK_EQ(talk.count(Kind::write_user), 1U);
  CHECK(talk.heard() == codes(0, 20));
}

TEST(an_end_of_turn_model_shortens_and_lengthens_the_wait) {
  for (const double score : {0.9, 0.1}) {
    std::size_t asked = 0;
    Talk talk({{0, 1000}}, reply_script(0, 20), {}, [&](std::span<const float> turn, int hz) {
      CHECK_EQ(hz, kHz);
      asked = turn.size();
      return score;
    });
    talk.run(8);
    CHECK(asked >= std::size_t{kHz});  // the turn and the pause behind it
    REQUIRE(talk.turns.size() == 1);
    const double wait = *talk.turns[0].commit - *talk.turns[0].speech_end;
    CHECK_NEAR(wait, score > 0.5 ? 0.3 : 2.5, 2 * kChunkMs / 1000.0);
  }
}

TEST(a_backchannel_pauses_the_reply_and_it_goes_on_at_the_same_sample) {
  Talk talk({{0, 1000}, {3600, 3900}}, reply_script(0, 90));
  talk.run(9);
  CHECK_EQ(talk.count(Kind::pause_playout), 1U);
  CHECK_EQ(talk.count(Kind::resume_playout), 1U);
  CHECK_EQ(talk.count(Kind::open_turn), 1U);
  CHECK(talk.heard() == codes(0, 90));
  CHECK_EQ(talk.count(EventKind::reply_ended), 1);
  REQUIRE(talk.turns.size() == 1);
  CHECK_EQ(talk.turns[0].false_interruptions, 1);
  CHECK(talk.turns[0].resume_gap_s > 0.2);
}

TEST(an_interruption_silences_the_reply_and_the_history_keeps_what_was_heard) {
  const int onset = 3600;
  std::vector<std::int32_t> script = reply_script(0, 90);
  Talk talk({{0, 1000}, {onset, 5000}}, script);
  talk.run(4.5);
  const std::int64_t decided = talk.time_of(Kind::truncate_reply);
  CHECK(decided >= onset + 500);
  CHECK(talk.last_sound_ms() <= static_cast<double>(decided) + 200);
  // It paused at the onset already.
  CHECK(talk.last_sound_ms() <= onset + 50 + 32 + kChunkMs + 5);
  CHECK_EQ(talk.count(EventKind::reply_ended), 1);
  REQUIRE(talk.turns.size() == 1);
  CHECK_NEAR(*talk.turns[0].interrupted, onset / 1000.0, check::tolerance("VOICE_BLOCK_S"));
  CHECK(*talk.turns[0].interruption_latency() < 0.25);
  const std::vector<int> heard = talk.heard();
  // The next reply's prompt comes behind the codes that were heard, and no other.
  talk.run(5);
  const std::vector<std::int32_t> fed = talk.stages.backbone->fed();
  const auto next = std::find(fed.begin(), fed.end(), 'N' - 'A');
  REQUIRE(next != fed.end());
  std::vector<int> kept;
  for (auto it = fed.begin(); it != next; ++it)
    if (*it >= kAudio) kept.push_back(*it - kAudio);
  CHECK(kept == heard);
  CHECK_EQ(*(next - 1), kEnd);
}

TEST(a_reply_near_its_end_is_not_interrupted) {
  // 90 codes are 3.6 s, from about 1.9 s on.
  Talk talk({{0, 1000}, {4800, 6500}}, reply_script(0, 90));
  talk.run(12);
  CHECK_EQ(talk.count(Kind::pause_playout), 0U);
  CHECK_EQ(talk.count(Kind::truncate_reply), 0U);
  CHECK_EQ(talk.count(Kind::open_turn), 2U);
  CHECK(talk.heard() == codes(0, 90));
}

TEST(a_monologue_ends_by_force) {
  TurnTimers timers;
  timers.turn_cap = 5000;
  Talk talk({{0, 9000}}, reply_script(0, 20), timers);
  talk.run(6);
  CHECK_EQ(talk.time_of(Kind::start_call), 5000);
  CHECK(talk.count(Kind::commit) >= 1U);
}

TEST(a_turn_too_short_to_answer_is_told_and_forgotten) {
  Talk talk({{200, 300}}, {kEnd});
  talk.run(4);
  CHECK_EQ(talk.count(Kind::open_turn), 1U);
  CHECK(talk.floors.back() == Floor::listening);
}

TEST(the_caller_ends_a_reply_and_the_user_goes_on) {
  for (const bool speaks : {false, true}) {
    Talk talk({{0, 1000}, {3000, speaks ? 5000 : 3000}}, reply_script(0, 90));
    talk.run(3.2);
    talk.driver.interrupt(std::nullopt);
    talk.run(0.2);
    CHECK_EQ(talk.count(EventKind::reply_ended), 1);
    CHECK(talk.floors.back() == Floor::listening);
    talk.run(0.3);
    CHECK_EQ(talk.count(Kind::open_turn), speaks ? 2U : 1U);
  }
}

TEST(what_the_loudspeaker_did_not_reach_was_not_heard) {
  for (const int end : {3900, 6000}) {  // a backchannel, an interruption
    Talk talk({{0, 1000}, {3600, end}}, reply_script(0, 90));
    std::vector<float> heard;  // what went out, without what was dropped
    talk.driver.on_silence([&] {
      heard = talk.samples;
      heard.resize(heard.size() - 4800);  // that waited in the device's queue
      talk.samples.clear();
      return static_cast<std::int64_t>(heard.size());
    });
    talk.run(9);
    std::swap(heard, talk.samples);
    const std::size_t reached = talk.heard().size();  // codes, until it fell silent
    talk.samples.insert(talk.samples.end(), heard.begin(), heard.end());
    const std::vector<std::int32_t> fed = talk.stages.backbone->fed();
    const auto next = std::find(fed.begin(), fed.end(), 'N' - 'A');
    const auto kept = std::count_if(fed.begin(), next, [](int id) { return id >= kAudio; });
    if (end == 3900) {  // it went on where it was heard last
      CHECK(talk.heard() == codes(0, 90));
    } else {
      REQUIRE(next != fed.end());
      CHECK_EQ(kept, static_cast<std::ptrdiff_t>(reached));
    }
  }
}

TEST(a_cancelled_step_changes_nothing) {
  Talk talk({{0, 1000}}, reply_script(0, 20));
  talk.run(1);
  talk.driver.cancel();
  bool thrown = false;
  try {
    talk.step();
  } catch (const CancelledError&) {
    thrown = true;
  }
  CHECK(thrown);
  talk.run(5);
  CHECK(talk.heard() == codes(0, 20));
}

TEST(a_reset_begins_anew) {
  Talk talk({{0, 1000}}, reply_script(0, 50));
  talk.run(2.5);
  talk.driver.reset();
  const std::size_t before = talk.log.size();
  CHECK(talk.driver.controller().state() == TurnState::silence);
  for (int i = 0; i < kTurnTimers; ++i)
    CHECK(!talk.driver.controller().timer_armed(static_cast<TurnTimer>(i)));
  CHECK_EQ(talk.driver.position(), 0);
  talk.run(6);
  CHECK(talk.log.size() > before);
}

TEST(a_full_context_begins_a_new_conversation_with_the_turn_under_way) {
  std::vector<std::int32_t> script;
  Talk::Spans spoken;
  for (int i = 0; i < 12; ++i) {
    const std::vector<std::int32_t> reply = reply_script(0, 30);
    script.insert(script.end(), reply.begin(), reply.end());
    spoken.emplace_back(i * 6000, i * 6000 + 1500);
  }
  Talk talk(spoken, script, {}, {}, {.context = 200});
  talk.run(72);
  CHECK_EQ(talk.count(Kind::commit), 12U);
  CHECK_EQ(talk.count(EventKind::reply_started), 12);
  CHECK(talk.count(EventKind::window) > 0);
}

TEST(a_model_that_decides_itself_is_only_observed) {
  Stages stages(4, 13);
  stages.backbone->script = spoken_script();
  const Stages plain(stages);
  Session alone = make_session(stages.duplex());
  Run wanted;
  wanted.steps(alone, 20);
  Stages again(4, 13);
  again.backbone->script = spoken_script();
  TurnDriver driver({make_session(again.duplex()),
                     VoiceActivity(std::make_unique<ScriptedVoice>(Talk::Spans{{0, 200}}), {}, kHz),
                     {},
                     {},
                     std::make_shared<SteadyClock>(),
                     kHz,
                     kChunk,
                     kChunk});
  std::vector<float> samples;
  std::vector<TurnReport> turns;
  for (int i = 0; i < 20; ++i) {
    Chunk in{};
    Chunk out;
    driver.step(in, out);
    samples.insert(samples.end(), out.begin(), out.end());
    for (const TurnReport& turn : driver.take_turns()) turns.push_back(turn);
  }
  CHECK(samples == wanted.samples);
  REQUIRE(turns.size() == 1);
  CHECK_EQ(turns[0].calls_started, 0);
  CHECK(turns[0].audio_out.has_value());
  CHECK(turns[0].latency().has_value());
}

// A user at random, for minutes; the talk's own rules hold in every step.
void random_life(std::uint64_t seed, Talk& talk) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < 2000; ++i) {
    if (random() % 400 == 0) talk.driver.interrupt(std::nullopt);
    talk.step();
  }
}

TEST(the_rules_hold_whatever_happens_and_the_same_sound_gives_the_same_conversation) {
  std::mt19937_64 random(5);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  Talk::Spans spoken;
  for (int at = 0; at < 330'000;) {
    const int begin = at + below(2500);
    at = begin + 30 + below(below(3) == 0 ? 4000 : 600);
    spoken.emplace_back(begin, at);
  }
  std::vector<std::int32_t> script;
  for (int i = 0; i < 400; ++i) {
    const std::vector<std::int32_t> reply = reply_script(below(90), below(8) == 0 ? 0 : below(90));
    script.insert(script.end(), reply.begin(), reply.end());
  }
  Talk once(spoken, script);
  Talk again(spoken, script);
  random_life(3, once);
  random_life(3, again);
  CHECK(once.count(Kind::commit) > 20U);
  CHECK(once.count(Kind::truncate_reply) > 2U);
  CHECK(once.count(Kind::resume_playout) > 2U);
  CHECK(once.samples == again.samples);
  CHECK(once.events == again.events);
  CHECK(once.log == again.log);
}

}  // namespace
