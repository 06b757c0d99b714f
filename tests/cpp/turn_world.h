// A world for the turn controller, on a virtual clock of 1 ms: a scripted user, models with fixed
// times, a player that can be paused; and the rules that hold after every event.
#pragma once
#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "live/turn_controller.h"

namespace turn_world {

using namespace parley::live;
using parley::TurnTimers;
using Event = TurnEvent;
using Command = TurnCommand;

inline constexpr TurnAbilities kScored{.end_of_turn = true};
inline constexpr TurnAbilities kWritten{.transcripts = true};
inline constexpr TurnAbilities kTextDriven{.transcripts = true, .text_driven = true};

inline Event transcript(std::int32_t turn, std::string text, bool last = true) {
  return {.kind = Event::Kind::transcript, .turn = turn, .last = last, .text = std::move(text)};
}

// What a reply that is made takes, in ms.
struct Making {
  int first_audio = 300;
  int generation = 1000;  // from its start to its last sample; not under first_audio
  int length = 2000;      // of its sound; 0: it is silent
  bool fails = false;
  int tool = -1;  // asked for with the first audio
  bool tool_cancellable = false;
  int sound_at_once = -1;  // samples that are there until the generation's end; -1: all
};

class World {
 public:
  explicit World(const TurnAbilities& abilities = {}, const TurnTimers& timers = {})
      : controller(abilities, timers, 1000) {}

  // Scripts: what the user does and what models answer, by time.
  void speak(std::int64_t from, std::int64_t to) {
    at(from, {.kind = Event::Kind::speech_on, .sample = from});
    at(to, {.kind = Event::Kind::speech_off, .sample = to});
  }
  void at(std::int64_t time, Event event) {
    event.at = time;
    script.emplace(time, std::move(event));
  }

  void run(std::int64_t until) {
    for (; now <= until; ++now) tick();
  }

  std::size_t count(Command::Kind kind) const {
    return static_cast<std::size_t>(std::count_if(
        log.begin(), log.end(), [&](const auto& c) { return c.second.kind == kind; }));
  }
  // The n-th command of that kind and its time; a time of -1 where there is none.
  std::pair<std::int64_t, Command> find(Command::Kind kind, std::size_t n = 0) const {
    for (const auto& entry : log)
      if (entry.second.kind == kind && n-- == 0) return entry;
    return {-1, {}};
  }
  std::int64_t time_of(Command::Kind kind, std::size_t n = 0) const { return find(kind, n).first; }
  // States that were passed, without repetition.
  std::string trace() const {
    std::string text;
    for (TurnState state : states) text += "-SPTRO"[static_cast<int>(state)];
    return text;
  }

  TurnController controller;
  Making making;                         // of every reply that has none of its own
  std::map<std::int32_t, Making> calls;  // by id
  std::int64_t now = 0;
  std::multimap<std::int64_t, Event> script;
  std::vector<std::pair<std::int64_t, Command>> log;
  std::vector<TurnState> states = {TurnState::silence};
  std::vector<std::pair<std::int64_t, std::int32_t>> heard;  // (time, call), one per ms of sound

 private:
  void tick() {
    for (int i = 0; i < kTurnTimers; ++i) {
      const auto timer = static_cast<TurnTimer>(i);
      if (controller.timer_armed(timer) && dates_[timer] <= now)
        send({.kind = Event::Kind::timer, .timer = timer});
    }
    while (!script.empty() && script.begin()->first <= now) {
      const Event event = script.begin()->second;
      script.erase(script.begin());
      send(event);
    }
    play();
  }

  void send(Event event) {
    event.at = now;
    if (event.turn == 0) {  // the right one
      event.turn = turn_ + (controller.state() == TurnState::bot_paused ? 1 : 0);
      if (event.kind == Event::Kind::eot_score) event.epoch = epoch_;
    }
    if (event.kind == Event::Kind::call_failed) live_.erase(event.call);
    const auto commands = controller.on(event);
    const std::vector<Command> copy(commands.begin(), commands.end());
    for (const Command& command : copy) {
      log.emplace_back(now, command);
      check_rules(command);
      carry_out(command);
    }
    check_timers();
    if (controller.state() != states.back()) states.push_back(controller.state());
  }

  void check_timers() const {
    const TurnState state = controller.state();
    const auto only_in = [&](TurnTimer timer, std::initializer_list<TurnState> states_of) {
      const bool may = std::find(states_of.begin(), states_of.end(), state) != states_of.end();
      CHECK(may || !controller.timer_armed(timer));
    };
    only_in(TurnTimer::pause, {TurnState::user_speaking});
    only_in(TurnTimer::commit, {TurnState::user_paused});
    only_in(TurnTimer::cap, {TurnState::user_speaking, TurnState::user_paused});
    only_in(TurnTimer::confirm, {TurnState::bot_paused});
    only_in(TurnTimer::give_up, {TurnState::bot_paused});
    CHECK_EQ(controller.call_lives(), !live_.empty());
  }

  // The rules that hold whatever happens.
  void check_rules(const Command& command) {
    switch (command.kind) {
      case Command::Kind::start_call:
        CHECK(live_.empty());  // one reply is thought of at a time
        live_.insert(command.call);
        break;
      case Command::Kind::cancel_call:
        CHECK_EQ(live_.erase(command.call), 1u);
        break;
      case Command::Kind::commit:
        CHECK(committed_.insert(command.call).second);
        live_.erase(command.call);
        CHECK(!playing_);  // one sound at a time
        break;
      case Command::Kind::run_tool:
        CHECK(run_tools_.insert(command.id).second);
        CHECK(playing_.has_value());  // never before its commit
        break;
      case Command::Kind::truncate_reply:
        CHECK_EQ(command.sample, played_);
        CHECK(command.sample > 0);
        break;
      case Command::Kind::drop_reply:
        CHECK_EQ(played_, 0);
        break;
      default:
        break;
    }
  }

  void carry_out(const Command& command) {
    switch (command.kind) {
      case Command::Kind::arm:
        dates_[command.timer] = command.sample;
        break;
      case Command::Kind::open_turn:
        turn_ = command.turn;
        break;
      case Command::Kind::ask_eot:
        epoch_ = command.epoch;
        break;
      case Command::Kind::start_call:
        make(command.call);
        break;
      case Command::Kind::commit:
        playing_ = command.call;
        played_ = 0;
        moving_ = true;
        told_ = {-1, false};
        break;
      case Command::Kind::pause_playout:
        moving_ = false;
        break;
      case Command::Kind::resume_playout:
        CHECK_EQ(command.sample, played_);
        moving_ = true;
        break;
      case Command::Kind::flush_playout:
      case Command::Kind::write_reply:
        playing_.reset();
        break;
      default:
        break;
    }
  }

  void make(std::int32_t call) {
    if (!calls.contains(call)) calls[call] = making;
    const Making& made = calls[call];
    started_[call] = now;
    if (made.fails) {
      at(now + made.first_audio, {.kind = Event::Kind::call_failed, .call = call});
      return;
    }
    if (made.tool >= 0) {
      at(now + made.first_audio, {.kind = Event::Kind::tool_call,
                                  .call = call,
                                  .id = made.tool,
                                  .last = made.tool_cancellable});
    }
    if (made.length > 0)
      at(now + made.first_audio, {.kind = Event::Kind::call_audio, .call = call});
    at(now + made.generation, {.kind = Event::Kind::call_end, .sample = made.length, .call = call});
  }

  // A millisecond of the loudspeaker.
  void play() {
    if (!playing_ || !moving_) return;
    const Making& made = calls[*playing_];
    const bool whole = now >= started_[*playing_] + made.generation;
    const std::int64_t there = whole || made.sound_at_once < 0 ? made.length : made.sound_at_once;
    if (played_ < there) {
      heard.emplace_back(now, *playing_);
      send({.kind = Event::Kind::played, .sample = ++played_});
    } else if (const std::pair end(played_, whole); told_ != end) {
      told_ = end;
      send({.kind = Event::Kind::playout_done});
    }
  }

  std::map<TurnTimer, std::int64_t> dates_;
  std::map<std::int32_t, std::int64_t> started_;
  std::set<std::int32_t> live_, committed_, run_tools_;
  std::optional<std::int32_t> playing_;
  std::int32_t turn_ = 0;
  std::int32_t epoch_ = 0;
  std::int64_t played_ = 0;
  bool moving_ = false;
  std::pair<std::int64_t, bool> told_;  // the end that the controller knows of
};

}  // namespace turn_world
