// Forks of a session, at any moment: both go on alike, and neither learns what the other does.
#include "session_run.h"

namespace {

using namespace session_run;

// What the backbone read in a state: ids, and features' first numbers.
std::vector<float> heard(const scripted::Backbone::State& state) {
  std::vector<float> values;
  for (const auto& row : state.rows)
    values.push_back(row.id >= 0 ? static_cast<float>(row.id) : row.feature);
  return values;
}

Run tail_of(const Run& run, std::size_t steps) {
  Run tail;
  tail.samples.assign(run.samples.begin() + static_cast<std::ptrdiff_t>(steps * kChunk),
                      run.samples.end());
  tail.floors.assign(run.floors.begin() + static_cast<std::ptrdiff_t>(steps), run.floors.end());
  for (const Seen& e : run.events)
    if (e.sample >= static_cast<std::int64_t>(steps * kChunk)) tail.events.push_back(e);
  return tail;
}

TEST(a_fork_goes_on_as_its_parent_does) {
  constexpr int kSteps = 14;
  for (const Kind kind : kKinds) {
    const Stages plain = stages_for(kind);
    Session whole = make_session(parts_for(plain, kind));
    Run wanted;
    play(wanted, whole, 0, kSteps);
    for (int at = 0; at <= kSteps; ++at) {
      const Stages stages = stages_for(kind);
      Session parent = make_session(parts_for(stages, kind));
      Run before;
      play(before, parent, 0, at);
      Session fork = parent.fork();
      Run of_fork;
      play(of_fork, fork, at, kSteps);
      Run of_parent = before;
      play(of_parent, parent, at, kSteps);
      CHECK(of_parent.samples == wanted.samples);
      CHECK(of_parent.events == wanted.events);
      const Run tail = tail_of(wanted, static_cast<std::size_t>(at));
      CHECK(of_fork.samples == tail.samples);
      CHECK(of_fork.events == tail.events);
      CHECK(of_fork.floors == tail.floors);
    }
  }
}

TEST(a_speculation_that_is_dropped_costs_no_history) {
  std::array<std::vector<float>, 2> fed;
  std::array<Run, 2> runs;
  for (const bool speculates : {false, true}) {
    const Stages stages = stages_for(Kind::turns);
    Session session = make_session(parts_for(stages, Kind::turns));
    const scripted::Backbone::State* state = stages.backbone->last;
    Run& run = runs[speculates];
    for (int i = 0; i < 3; ++i) run.step(session, 0.01F);
    if (speculates) {  // the user pauses: a reply is made, and nobody hears it
      Session guess = session.fork();
      Run unheard;
      guess.end_turn();
      unheard.steps(guess, 4);
      CHECK(unheard.find(EventKind::reply_started) != nullptr);
      guess.interrupt();
      unheard.steps(guess, 1);
    }
    for (int i = 0; i < 2; ++i) run.step(session, 0.02F);  // and goes on
    session.end_turn();
    run.steps(session, 14);
    CHECK(run.floors.back() == Floor::listening);
    fed[speculates] = heard(*state);
  }
  CHECK(fed[0] == fed[1]);
  CHECK(runs[0].samples == runs[1].samples);
  CHECK(runs[0].events == runs[1].events);
}

TEST(a_speculation_that_is_taken_is_the_conversation) {
  const Stages plain = stages_for(Kind::turns);
  Session session = make_session(parts_for(plain, Kind::turns));
  Run wanted;
  for (int i = 0; i < 3; ++i) wanted.step(session, 0.01F);
  session.end_turn();
  wanted.steps(session, 14);

  const Stages stages = stages_for(Kind::turns);
  Run run;
  std::optional<Session> main = make_session(parts_for(stages, Kind::turns));
  for (int i = 0; i < 3; ++i) run.step(*main, 0.01F);
  Session guess = main->fork();
  guess.end_turn();
  run.steps(guess, 1);
  Run listened;
  listened.steps(*main, 2);  // meanwhile the microphone goes on being heard
  *main = std::move(guess);
  run.steps(*main, 13);
  CHECK(run.samples == wanted.samples);
  CHECK(run.events == wanted.events);
}

TEST(a_long_turn_is_forked_while_its_segment_is_encoded) {
  const auto parts = [](const Stages& stages) {
    SessionParts all = stages.turns();
    all.overlap = true;
    all.clock = std::make_shared<SteadyClock>();
    return all;
  };
  std::vector<std::vector<float>> fed;
  for (const bool forks : {false, true}) {
    Stages stages;
    stages.backbone->script = {kEnd};
    Session session = make_session(parts(stages));
    Run run;
    for (int i = 0; i < 190; ++i) run.step(session, 0.001F * static_cast<float>(i % 89));
    std::optional<Session> fork;
    if (forks) fork = session.fork();
    Session& answering = forks ? *fork : session;
    answering.end_turn();
    run.steps(answering, 2);
    fed.push_back(heard(*stages.backbone->last_used));
  }
  CHECK(fed[0] == fed[1]);
}

}  // namespace
