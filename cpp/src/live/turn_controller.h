// Managed duplex: when a turn is over, when its reply is let out, when that falls silent; knows no
// model, no thread and no clock, so the same events give the same commands.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "live/turn_events.h"

namespace parley::live {

// The four states of Step-Audio's controller (arXiv 2502.11946, 3.4) and two that it leaves out:
// settling and bot_paused. Whoever runs it delivers what happens in the order of time, timers that
// are due first, and carries out what it answers before the next event.
//
// A reply before its commit is only thought: no sound, no history, no tool. An answer that was
// asked for a turn, an epoch or a call that is past is dropped and counted.
class TurnController {
 public:
  struct Counts {
    std::int64_t dropped = 0;  // answers that came too late to mean anything
    std::int64_t underruns = 0;
    std::int64_t false_interruptions = 0;  // the reply went on after a pause
    std::int64_t interruptions = 0;
    std::int64_t speculations = 0;  // started, and of these ...
    std::int64_t speculations_used = 0;
  };

  // `hz`: of the timeline that events carry.
  TurnController(const TurnAbilities& abilities, const TurnTimers& timers, int hz);

  // What to do now; valid until the next call.
  std::span<const TurnCommand> on(const TurnEvent& event);

  TurnState state() const { return state_; }
  const Counts& counts() const { return counts_; }
  bool call_lives() const { return call_.has_value(); }
  bool timer_armed(TurnTimer timer) const { return armed_[static_cast<std::size_t>(timer)]; }

 private:
  struct Call {
    std::int32_t id = 0;
    std::int32_t epoch = 0;
    bool speculative = false;
    bool sounds = false;
    bool ended = false;
    std::int64_t length = -1;  // samples, once it has ended
    std::int32_t tool = -1;    // asked for, held until the commit
    bool tool_cancellable = false;
    std::string text = {};  // the transcript that it was made from
  };

  void speech_on(const TurnEvent& event);
  void speech_off(const TurnEvent& event);
  void overlap_begins();
  void timer(TurnTimer which);
  void score(const TurnEvent& event);
  void transcript(const TurnEvent& event);
  void call_event(const TurnEvent& event);
  void call_ended(Call& call, const TurnEvent& event);
  void call_failed();
  void playout_done();
  void tool_result(std::int32_t id);
  void context_changed();
  void native(const TurnEvent& event);
  void stop_all(bool forget_results);

  void open_turn(std::int64_t onset);
  void listen_on();
  void pause_turn();
  void end_turn();
  void speculate();
  void start_call(bool speculative);
  void cancel_call();
  void commit();
  void second_pass();
  void resume();
  void interrupt();
  void finish_reply();
  void cut_reply();
  bool fits(const Call& call) const;
  bool may_speculate() const;
  bool at_end_boundary() const;

  TurnCommand& command(TurnCommand::Kind kind);
  void arm(TurnTimer timer, std::int64_t date);
  void disarm(TurnTimer timer);
  std::int64_t samples(int ms) const { return std::int64_t{ms} * hz_ / 1000; }

  TurnAbilities abilities_;
  TurnTimers timers_;
  int hz_;

  TurnState state_ = TurnState::silence;
  std::int64_t now_ = 0;
  std::int32_t turn_ = 0;
  std::int32_t epoch_ = 0;
  std::int32_t calls_ = 0;
  std::int64_t turn_start_ = 0;
  int speculations_ = 0;  // of this turn
  bool retried_ = false;
  bool continues_ = false;  // what is being made answers a tool's result and no turn
  std::string transcript_;  // of this turn

  bool speaking_ = false;  // the user
  std::int64_t speech_start_ = 0;
  std::int64_t speech_end_ = 0;

  std::optional<Call> call_;   // thought, not committed
  std::optional<Call> reply_;  // committed
  std::int64_t played_ = 0;    // samples of the reply
  bool playing_ = false;
  bool paused_ = false;
  std::optional<std::int64_t> next_turn_;  // onset of speech at a reply's end

  std::int32_t tool_ = -1;  // the reply waits for its result
  bool tool_cancellable_ = false;
  std::vector<std::int32_t> orphans_;  // their reply was interrupted
  std::vector<std::int32_t> results_;  // not yet in the context

  bool armed_[kTurnTimers] = {};
  std::vector<TurnCommand> commands_;
  Counts counts_;
};

}  // namespace parley::live
