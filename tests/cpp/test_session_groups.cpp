// Replies in groups of text and codes, their history where they are cut, and calls of tools.
#include <algorithm>
#include <string>
#include <vector>

#include "session_run.h"

namespace {

using namespace session_run;

constexpr std::int32_t kBegin = 'H' - 'A';  // what every prompt ends with
constexpr std::int32_t kSpeechEnd = 106;

SessionParts grouped(const Stages& stages) {
  SessionParts parts = stages.turns();
  parts.turns->speech = {
      .begin = kBegin, .end = kSpeechEnd, .text_pad = kPad, .text = 1, .audio = 4};
  parts.turns->tools = {"S{schemas}", "Y>f{name}|{arguments}Z", "R{name}{content}H"};
  return parts;
}

// n groups, text in the first three of them.
std::vector<std::int32_t> groups(int n) {
  std::vector<std::int32_t> ids;
  for (int i = 0; i < n; ++i) {
    ids.push_back(i < 3 ? 1 + i : kPad);
    for (int k = 0; k < 4; ++k) ids.push_back(code(4 * i + k));
  }
  return ids;
}

void say(Stages& stages, const std::vector<std::int32_t>& ids) {
  stages.backbone->script.insert(stages.backbone->script.end(), ids.begin(), ids.end());
}

Run answered(Session& session, int steps) {
  Run run;
  run.steps(session, 2);
  session.end_turn();
  run.steps(session, steps);
  return run;
}

TEST(speech_ends_and_text_goes_on) {
  Stages stages;
  say(stages, groups(2));
  say(stages, {kSpeechEnd, 4, code(50), 5, kEnd});
  Session session = make_session(grouped(stages));
  const Run run = answered(session, 6);
  CHECK_EQ(run.text(), "BCEF");  // pads and what ends the speech are told to nobody
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::model);
  CHECK(run.first(7) > 0);
  CHECK_EQ(run.first(50), -1);  // behind the speech a code means nothing
  CHECK(run.floors.back() == Floor::listening);
}

TEST(without_what_begins_speech_nothing_sounds) {
  Stages stages;
  say(stages, {1, code(0), 2, kEnd});
  SessionParts parts = grouped(stages);
  parts.text_only = true;
  Session session = make_session(parts);
  const Run run = answered(session, 3);
  CHECK_EQ(run.text(), "BC");
  CHECK_EQ(run.first(0), -1);
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  CHECK_EQ(std::count(fed.begin(), fed.end(), kBegin), 0);
}

TEST(a_history_that_is_cut_keeps_whole_groups_and_closes_the_speech) {
  for (int heard = 0; heard < 6; ++heard) {
    Stages stages;
    say(stages, groups(20));
    Session session = make_session(grouped(stages));
    answered(session, heard + 1);
    const std::vector<std::int32_t> before = stages.backbone->fed();
    const auto prompt = std::find(before.begin(), before.end(), kBegin) - before.begin() + 1;
    session.interrupt();
    Run rest;
    rest.steps(session, 2);
    session.send_text("U");
    rest.steps(session, 1);
    const std::vector<std::int32_t> fed = stages.backbone->fed();
    const auto end = std::find(fed.begin(), fed.end(), kSpeechEnd) - fed.begin();
    CHECK_EQ((end - prompt) % 5, 0);
    const auto at = static_cast<std::size_t>(end);
    CHECK_EQ(fed[at + 1], kEnd);
    CHECK_EQ(fed[at + 2], 'T' - 'A');
  }
}

TEST(a_reply_that_is_too_long_is_closed) {
  Stages stages;
  say(stages, groups(20));
  SessionParts parts = grouped(stages);
  parts.turns->max_new_tokens = 10;
  Session session = make_session(parts);
  const Run run = answered(session, 6);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::max_tokens);
  session.send_text("U");
  Run rest;
  rest.steps(session, 1);
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  const auto at =
      static_cast<std::size_t>(std::find(fed.begin(), fed.end(), kSpeechEnd) - fed.begin());
  CHECK_EQ(fed[at - 1], code(7));
  CHECK_EQ(fed[at + 1], kEnd);
}

TEST(draws_are_held_to_groups_where_a_bundle_wants_it) {
  Stages stages;
  say(stages, {1, 2, code(0), code(1), code(2), code(3)});  // 2 is no code
  stages.backbone->otherwise = kSpeechEnd;
  SessionParts parts = grouped(stages);
  parts.turns->speech.held_to = true;
  Session session = make_session(parts);
  const Run run = answered(session, 2);
  CHECK_EQ(run.text(), "BA");  // four codes, then the likeliest text in the place of code(3)
}

// Calls seen in so many steps: names, and how many there were.
std::vector<std::string> calls(Session& session, Run& run, int steps) {
  std::vector<std::string> names;
  for (int i = 0; i < steps; ++i) {
    Chunk in{};
    Chunk out;
    const Step step = session.step(in, out);
    for (const Event& event : step.events) {
      if (event.kind == EventKind::call) names.emplace_back(event.text);
      if (event.kind == EventKind::text) run.events.push_back({event.kind, 0, {}, "", 0});
    }
    run.floors.push_back(step.floor);
  }
  return names;
}

TEST(a_call_is_told_and_its_result_answered_when_the_reply_was_heard) {
  Stages stages(4, 13);
  say(stages, groups(3));
  say(stages, {kSpeechEnd, 'Y' - 'A', 'f' - 'A', 'W' - 'A', 'Z' - 'A', kEnd});
  say(stages, groups(2));
  say(stages, {kSpeechEnd, kEnd});
  SessionParts parts = grouped(stages);
  parts.turns->first = "F{tools}G{user}H";
  parts.tools = "JS";
  Session session = make_session(parts);
  Run run;
  run.steps(session, 2);
  session.end_turn();
  CHECK(calls(session, run, 4) == std::vector<std::string>{"W"});
  CHECK_EQ(run.count(EventKind::text), 3);  // a call is no text
  CHECK(session.floor() == Floor::speaking);
  session.send_result("W", "X");  // while the reply is still heard
  calls(session, run, 6);
  const std::vector<std::int32_t> fed = stages.backbone->fed();
  std::string text;
  for (const std::int32_t id : fed) text += id >= 0 && id < 26 ? static_cast<char>('A' + id) : '.';
  CHECK(text.starts_with("FSJSG"));
  CHECK(text.find(".RWXH") != std::string::npos);
  CHECK_THROWS_MSG(InputError, "before its first turn",
                   make_session(grouped(stages)).send_result("W", "X"));
  CHECK_THROWS_MSG(InputError, "a model that calls tools",
                   make_session(stages.duplex()).send_result("W", "X"));
}

}  // namespace
