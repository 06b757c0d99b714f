// A managed conversation with scripted minds and a scripted voice, on the sample clock; the rules
// that hold after every step.
#pragma once
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "live/turn_driver.h"
#include "session_run.h"

namespace managed_talk {

using namespace session_run;
using namespace parley::live;
using Command = TurnCommand;

inline constexpr int kHz = 24000;
inline constexpr std::int64_t kMs = kHz / 1000;

// Speech in the given spans, in ms of the conversation.
class ScriptedVoice final : public SpeechScorer {
 public:
  explicit ScriptedVoice(std::vector<std::pair<int, int>> spans) : spans_(std::move(spans)) {}
  double score(std::span<const float>) override {
    const double ms = static_cast<double>(blocks_++) * kBlock * 1000.0 / SpeechScorer::kHz;
    for (const auto& [begin, end] : spans_)
      if (ms >= begin && ms < end) return 0.95;
    return 0.02;
  }
  void reset() override { blocks_ = 0; }

 private:
  std::vector<std::pair<int, int>> spans_;
  std::int64_t blocks_ = 0;
};

// Five words, then 0.04 s of sound each, then the end; its first code is `first`.
inline std::vector<std::int32_t> reply_script(int first, int codes) {
  std::vector<std::int32_t> script = {1, 2, 3, 4, 5};
  for (int k = 0; k < codes; ++k) script.push_back(code((first + k) % 100));
  script.push_back(kEnd);
  return script;
}

struct Room {  // 0: as much as there is
  int prefill_budget = 0;
  int context = 0;
};

struct Talk {
  using Spans = std::vector<std::pair<int, int>>;

  Talk(const Spans& spoken, const std::vector<std::int32_t>& script, TurnTimers timers = {},
       std::function<double(std::span<const float>, int)> end_of_turn = {}, Room room = {})
      : stages(prepared(script)),
        driver(TurnDriverParts{make_session(turns_of(stages, room)),
                               VoiceActivity(std::make_unique<ScriptedVoice>(spoken),
                                             {0.5, timers.onset, timers.release}, kHz),
                               timers, std::move(end_of_turn), std::make_shared<SteadyClock>(), kHz,
                               kChunk, kChunk}) {
    driver.tell([this](const Command& command, std::int64_t at) {
      log.emplace_back(at / kMs, command);
      check(command);
    });
  }
  static SessionParts turns_of(const Stages& stages, Room room) {
    SessionParts parts = stages.turns();
    parts.prefill_budget = room.prefill_budget;
    if (room.context > 0) parts.context = room.context;
    return parts;
  }
  static Stages prepared(const std::vector<std::int32_t>& script) {
    Stages stages(0, 2);
    stages.backbone->script = script;
    stages.backbone->keeps_fed = true;  // a reply's fork takes the session's place
    stages.backbone->otherwise = kEnd;
    return stages;
  }

  void run(double seconds) {
    const auto steps = static_cast<int>(std::ceil(seconds * kHz / static_cast<double>(kChunk)));
    for (int i = 0; i < steps; ++i) step();
  }
  void step() {
    Chunk in;
    in.fill(0.01F);
    Chunk out;
    const Step made = driver.step(in, out);
    samples.insert(samples.end(), out.begin(), out.end());
    for (const Event& e : made.events)
      events.push_back({e.kind, e.sample, e.reason, std::string(e.text), e.count});
    floors.push_back(made.floor);
    const auto sound = [](float x) { return x != 0.0F; };
    if (std::any_of(out.begin(), out.end(), sound)) CHECK(!committed.empty());
    CHECK_EQ(driver.controller().call_lives(), !calls.empty());
    const std::vector<TurnReport> ended = driver.take_turns();
    turns.insert(turns.end(), ended.begin(), ended.end());
  }

  // Every call that is started ends once; one reply per turn.
  void check(const Command& command) {
    if (command.kind == Command::Kind::open_turn) turn = command.turn;
    if (command.kind == Command::Kind::start_call) CHECK(calls.insert(command.call).second);
    if (command.kind == Command::Kind::cancel_call) CHECK_EQ(calls.erase(command.call), 1U);
    if (command.kind == Command::Kind::commit) {
      CHECK_EQ(calls.erase(command.call), 1U);
      CHECK(committed.insert(turn).second);
    }
  }

  std::size_t count(Command::Kind kind) const {
    return static_cast<std::size_t>(std::count_if(
        log.begin(), log.end(), [&](const auto& entry) { return entry.second.kind == kind; }));
  }
  // When the n-th command of that kind came, in ms; -1: never.
  std::int64_t time_of(Command::Kind kind, std::size_t n = 0) const {
    for (const auto& [at, command] : log)
      if (command.kind == kind && n-- == 0) return at;
    return -1;
  }
  int count(EventKind kind) const {
    return static_cast<int>(
        std::count_if(events.begin(), events.end(), [&](const Seen& e) { return e.kind == kind; }));
  }
  std::string text() const {
    std::string all;
    for (const Seen& e : events) all += e.text;
    return all;
  }
  // Sound that came out, without silence: codes, each once, in order.
  std::vector<int> heard() const {
    std::vector<int> codes;
    // A code sounds for many samples; one that a fade passes through is not heard.
    for (std::size_t i = 1; i < samples.size(); ++i) {
      const float x = samples[i];
      if (x == 0.0F || x != samples[i - 1]) continue;
      const int k = static_cast<int>(std::lround(x * 1000.0F)) - 1;
      if (std::abs(x - sound(k)) < kNear && (codes.empty() || codes.back() != k))
        codes.push_back(k);
    }
    return codes;
  }
  // Where in the timeline, in ms, the first or last sound is heard: a chunk after its step.
  double first_sound_ms() const {
    const auto at = std::find_if(samples.begin(), samples.end(), [](float x) { return x != 0; });
    return static_cast<double>(at - samples.begin() + kChunk) / kMs;
  }
  double last_sound_ms() const {
    const auto at = std::find_if(samples.rbegin(), samples.rend(), [](float x) { return x != 0; });
    return static_cast<double>(samples.rend() - at + kChunk) / kMs;
  }

  Stages stages;
  TurnDriver driver;
  std::vector<std::pair<std::int64_t, Command>> log;
  std::vector<float> samples;
  std::vector<Seen> events;
  std::vector<Floor> floors;
  std::vector<TurnReport> turns;
  std::set<std::int32_t> calls, committed;
  std::int32_t turn = 0;
};

}  // namespace managed_talk
