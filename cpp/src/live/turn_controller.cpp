// From silence to a reply: speech, pauses, speculation, commit. What becomes of a reply that is out
// stands in turn_replies.cpp.
#include "live/turn_controller.h"

#include <utility>

#include "live/transcript_text.h"

namespace parley::live {

using Kind = TurnCommand::Kind;

TurnController::TurnController(const TurnAbilities& abilities, const TurnTimers& timers, int hz)
    : abilities_(abilities), timers_(timers), hz_(hz) {
  commands_.reserve(32);
}

std::span<const TurnCommand> TurnController::on(const TurnEvent& event) {
  using Event = TurnEvent::Kind;
  commands_.clear();
  now_ = event.at;
  switch (event.kind) {
    case Event::speech_on:
      speech_on(event);
      break;
    case Event::speech_off:
      speech_off(event);
      break;
    case Event::eot_score:
      score(event);
      break;
    case Event::timer:
      timer(event.timer);
      break;
    case Event::transcript:
      transcript(event);
      break;
    case Event::played:
      if (reply_) {
        playing_ = playing_ || event.sample > played_;
        played_ = event.sample;
      }
      break;
    case Event::playout_done:
      playout_done();
      break;
    case Event::tool_result:
      tool_result(event.id);
      break;
    case Event::context:
      context_changed();
      break;
    case Event::native_shift:
    case Event::native_break:
      native(event);
      break;
    case Event::device_lost:
      stop_all(false);
      break;
    case Event::reset:
      stop_all(true);
      break;
    default:
      call_event(event);
  }
  return commands_;
}

void TurnController::speech_on(const TurnEvent& event) {
  speaking_ = true;
  speech_start_ = event.sample;
  switch (state_) {
    case TurnState::silence:
      open_turn(event.sample);
      break;
    case TurnState::user_speaking:
    case TurnState::user_paused:
    case TurnState::settling:
      // Nothing was heard of a reply, so the same turn goes on; one to a tool's result is past.
      cancel_call();
      if (std::exchange(continues_, false)) {
        open_turn(event.sample);
      } else {
        ++epoch_;
        listen_on();
      }
      break;
    case TurnState::bot_replying:
      if (!abilities_.native) overlap_begins();
      break;
    case TurnState::bot_paused:
      disarm(TurnTimer::give_up);
      break;
  }
}

// The user speaks while a reply is out.
void TurnController::overlap_begins() {
  if (!playing_) {  // nothing sounds: the reply waits for a tool or for codes
    cut_reply();
    open_turn(speech_start_);
    return;
  }
  if (at_end_boundary()) {  // let the last words out; an early answer is an answer
    next_turn_ = speech_start_;
    return;
  }
  state_ = TurnState::bot_paused;
  // At its start the user's own last sound and an echo canceller that still learns look like
  // speech.
  paused_ = played_ >= samples(timers_.boundary) || played_ == 0;
  if (paused_) command(Kind::pause_playout).sample = played_;
  arm(TurnTimer::confirm, speech_start_ + samples(timers_.interruption));
}

void TurnController::speech_off(const TurnEvent& event) {
  speaking_ = false;
  speech_end_ = event.sample;
  if (state_ == TurnState::user_speaking) {
    arm(TurnTimer::pause, speech_end_ + samples(timers_.pause));
  } else if (state_ == TurnState::bot_paused) {
    if (speech_end_ - speech_start_ < samples(timers_.interruption)) {
      resume();
    } else {
      arm(TurnTimer::give_up, speech_end_ + samples(timers_.false_interruption));
    }
  }
}

void TurnController::timer(TurnTimer which) {
  bool& armed = armed_[static_cast<std::size_t>(which)];
  if (!std::exchange(armed, false)) {
    ++counts_.dropped;
    return;
  }
  switch (which) {
    case TurnTimer::pause:
      pause_turn();
      break;
    case TurnTimer::commit:
      end_turn();
      break;
    case TurnTimer::cap:
      speech_end_ = now_;
      end_turn();
      break;
    case TurnTimer::confirm:
      if (!abilities_.transcripts) {
        interrupt();
      } else if (!std::exchange(paused_, true)) {
        command(Kind::pause_playout).sample = played_;
      }
      break;
    case TurnTimer::give_up:
      ++counts_.false_interruptions;
      resume();
      break;
  }
}

// The user is silent for a while; think of a reply beside listening on.
void TurnController::pause_turn() {
  state_ = TurnState::user_paused;
  if (abilities_.native) return;
  if (may_speculate()) speculate();
  if (abilities_.end_of_turn) {
    TurnCommand& ask = command(Kind::ask_eot);
    ask.turn = turn_;
    ask.epoch = epoch_;
  }
  if (abilities_.transcripts) command(Kind::ask_transcript).turn = turn_;
  arm(TurnTimer::commit, speech_end_ + samples(timers_.commit_plain));
}

void TurnController::score(const TurnEvent& event) {
  if (state_ != TurnState::user_paused || event.turn != turn_ || event.epoch != epoch_) {
    ++counts_.dropped;
    return;
  }
  const int wait = event.score > 0.5 ? timers_.commit_complete : timers_.commit_incomplete;
  const std::int64_t date = speech_end_ + samples(wait);
  if (date > now_) {
    arm(TurnTimer::commit, date);
  } else {
    end_turn();
  }
}

// The turn is over. What is thought and fits becomes its reply.
void TurnController::end_turn() {
  for (TurnTimer timer : {TurnTimer::cap, TurnTimer::commit, TurnTimer::pause}) disarm(timer);
  state_ = TurnState::settling;
  if (call_ && !fits(*call_)) cancel_call();
  if (!call_) {
    start_call(false);
  } else if (call_->sounds || call_->ended) {
    commit();
  }
}

bool TurnController::fits(const Call& call) const {
  return call.epoch == epoch_ && (!abilities_.text_driven || same_words(call.text, transcript_));
}

bool TurnController::may_speculate() const {
  const bool short_enough =
      timers_.speculation_cap == 0 || speech_end_ - turn_start_ <= samples(timers_.speculation_cap);
  return !abilities_.native && speculations_ < timers_.max_speculations && short_enough;
}

void TurnController::speculate() {
  ++speculations_;
  ++counts_.speculations;
  start_call(true);
}

void TurnController::start_call(bool speculative) {
  for (std::int32_t id : std::exchange(results_, {})) command(Kind::insert_result).id = id;
  call_ = Call{.id = ++calls_, .epoch = epoch_, .speculative = speculative, .text = transcript_};
  TurnCommand& start = command(Kind::start_call);
  start.call = call_->id;
  start.turn = turn_;
  start.epoch = epoch_;
  start.speculative = speculative;
}

void TurnController::cancel_call() {
  if (!call_) return;
  command(Kind::cancel_call).call = call_->id;
  call_.reset();
}

// The instant at which the first sample may go out; until then everything could be taken back.
void TurnController::commit() {
  reply_ = std::exchange(call_, std::nullopt);
  if (reply_->speculative) ++counts_.speculations_used;
  played_ = 0;
  playing_ = reply_->sounds;
  paused_ = false;
  if (!continues_) command(Kind::write_user).turn = turn_;
  command(Kind::commit).call = reply_->id;
  state_ = TurnState::bot_replying;
  if (reply_->tool >= 0) {
    tool_ = reply_->tool;
    tool_cancellable_ = reply_->tool_cancellable;
    command(Kind::run_tool).id = tool_;
  }
  if (reply_->ended && !reply_->sounds && tool_ < 0) {
    finish_reply();
  } else if (speaking_) {  // a turn that was ended by force
    speech_start_ = now_;
    overlap_begins();
  }
}

void TurnController::call_event(const TurnEvent& event) {
  const bool thought = call_ && call_->id == event.call;
  const bool out = reply_ && reply_->id == event.call;
  if (!thought && !out) {
    ++counts_.dropped;
    return;
  }
  Call& call = thought ? *call_ : *reply_;
  switch (event.kind) {
    case TurnEvent::Kind::call_audio:
      call.sounds = true;
      if (thought && state_ == TurnState::settling) commit();
      break;
    case TurnEvent::Kind::call_text:
      call.text = event.text;
      break;
    case TurnEvent::Kind::call_end:
      call_ended(call, event);
      break;
    case TurnEvent::Kind::call_failed:
      if (thought) {
        call_failed();
      } else {  // what it said before is said
        call.ended = true;
        call.length = -1;
      }
      break;
    case TurnEvent::Kind::tool_call:
      if (thought) {
        call.tool = event.id;
        call.tool_cancellable = event.last;
      } else {
        tool_ = event.id;
        tool_cancellable_ = event.last;
        command(Kind::run_tool).id = event.id;
      }
      break;
    default:
      break;
  }
}

void TurnController::call_ended(Call& call, const TurnEvent& event) {
  call.ended = true;
  call.length = event.sample;
  if (call_ && &call == &*call_ && state_ == TurnState::settling) commit();
}

// A speculation that fails costs nothing; a reply is tried once more.
void TurnController::call_failed() {
  call_.reset();
  if (state_ != TurnState::settling) return;
  if (!std::exchange(retried_, true)) {
    start_call(false);
    return;
  }
  if (!std::exchange(continues_, false)) command(Kind::write_user).turn = turn_;
  command(Kind::report_failure).turn = turn_;
  state_ = TurnState::silence;
}

void TurnController::context_changed() {
  if (!call_) return;
  cancel_call();
  if (state_ == TurnState::settling) {
    start_call(false);
  } else if (may_speculate()) {
    speculate();
  }
}

}  // namespace parley::live
