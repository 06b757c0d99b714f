// A session over a mind of two heads and two caches: nothing outside the mind knows of the second.
#include "session/organs.h"
#include "session_run.h"
#include "two_head_mind.h"

namespace {

using namespace session_run;
using scripted::kGroup;
using scripted::TwoHeadMind;

// The text ends after three ids, the speech after two groups and one code; the reply goes on for
// two more ids than it has sound.
struct Heads {
  std::shared_ptr<scripted::Backbone> text = std::make_shared<scripted::Backbone>();
  std::shared_ptr<scripted::Backbone> speech = std::make_shared<scripted::Backbone>();
  TwoHeadMind* mind = nullptr;

  Session session(const Stages& stages) {
    text->script = {1, 2, 3, 4, 5, kEnd};
    speech->script.clear();
    for (int k = 0; k < 2 * kGroup + 1; ++k) speech->script.push_back(code(k));
    speech->script.push_back(code(scripted::kSilentCode));
    speech->otherwise = code(50);
    SessionParts parts = stages.turns();
    parts.turns->first_text = "{user}";
    Organs organs = make_organs(parts);
    auto two = std::make_unique<TwoHeadMind>(text, speech);
    mind = two.get();
    organs.mind = std::move(two);
    return make_session(std::move(organs));
  }
};

TEST(two_heads_speak_and_their_caches_go_together) {
  Stages stages;
  Heads heads;
  Session session = heads.session(stages);
  session.send_text("HI");
  Run run;
  run.steps(session, 8);
  CHECK_EQ(run.text(), "BCDEF");
  CHECK(run.floors.back() == Floor::listening);
  CHECK(run.find(EventKind::reply_ended)->reason == EndReason::model);
  CHECK_EQ(run.count(EventKind::reply_ended), 1);
  // Eleven codes in chunks of four, the last one short: all of them, at their places, and no more.
  for (int k = 0; k < 2 * kGroup + 1; ++k)
    CHECK_EQ(run.first(k), static_cast<std::int64_t>(k) * 960);
  CHECK_EQ(run.first(50), -1);
  CHECK_EQ(run.count(EventKind::underrun), 0);
  CHECK(session.position() > 0);
  CHECK_EQ(heads.mind->speech_positions(), kGroup * session.position());
}

TEST(a_failure_in_either_head_changes_neither) {
  for (const bool second : {false, true}) {
    for (int failing = 0; failing < 12; ++failing) {
      std::array<Run, 2> runs;
      std::array<std::vector<std::int32_t>, 2> fed;
      for (const bool fails : {false, true}) {
        Stages stages;
        Heads heads;
        Session session = heads.session(stages);
        int calls = 0;
        (second ? heads.speech : heads.text)->on_feed = [&] {
          if (fails && calls++ == failing) throw Error("scripted failure");
        };
        session.send_text("HI");
        while (runs[fails].floors.size() < 8) {
          try {
            runs[fails].step(session);
          } catch (const Error&) {
            CHECK_EQ(heads.mind->speech_positions(), kGroup * session.position());
          }
        }
        fed[fails] = heads.speech->fed();
      }
      CHECK(runs[0].samples == runs[1].samples);
      CHECK(runs[0].events == runs[1].events);
      CHECK(fed[0] == fed[1]);
    }
  }
}

TEST(an_interruption_cuts_both_caches) {
  Stages stages;
  Heads heads;
  Session session = heads.session(stages);
  session.send_text("HI");
  Run run;
  run.steps(session, 2);  // eight codes were heard: one whole group
  session.interrupt();
  run.steps(session, 1);
  CHECK(run.floors.back() == Floor::listening);
  CHECK_EQ(session.position(), 1 + 1);  // "H", and the step that gave the group, which read "I"
  CHECK_EQ(heads.mind->speech_positions(), kGroup * session.position());
  session.reset();
  CHECK_EQ(session.position(), 0);
  CHECK_EQ(heads.mind->speech_positions(), 0);
}

}  // namespace
