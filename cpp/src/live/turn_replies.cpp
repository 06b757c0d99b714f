// What happens to a reply that is out: transcripts, resumption, interruption, tools, its end.
#include <algorithm>
#include <utility>

#include "live/transcript_text.h"
#include "live/turn_controller.h"

namespace parley::live {

using Kind = TurnCommand::Kind;

void TurnController::transcript(const TurnEvent& event) {
  const bool over_reply = state_ == TurnState::bot_paused;
  // Speech over a reply is not yet a turn: its words come as those of the next one.
  if (event.turn != turn_ + (over_reply ? 1 : 0)) {
    ++counts_.dropped;
    return;
  }
  if (!over_reply) {
    transcript_ = event.text;
    if (call_ && !fits(*call_)) {
      cancel_call();
      if (state_ == TurnState::settling) start_call(false);
    }
  } else if (event.last && is_backchannel(event.text)) {
    resume();
  } else if (event.last) {
    interrupt();
    transcript_ = event.text;
  }
}

// It was no interruption; the reply goes on at the same sample.
void TurnController::resume() {
  disarm(TurnTimer::confirm);
  disarm(TurnTimer::give_up);
  state_ = TurnState::bot_replying;
  if (std::exchange(paused_, false)) command(Kind::resume_playout).sample = played_;
}

// It was one.
void TurnController::interrupt() {
  ++counts_.interruptions;
  disarm(TurnTimer::confirm);
  disarm(TurnTimer::give_up);
  cut_reply();
  open_turn(speech_start_);
}

// The history keeps what was heard. A tool that may not be stopped ends; its result is kept, not
// said.
void TurnController::cut_reply() {
  const std::int32_t id = reply_->id;
  command(Kind::flush_playout).call = id;
  TurnCommand& history = command(played_ > 0 ? Kind::truncate_reply : Kind::drop_reply);
  history.call = id;
  history.sample = played_;
  reply_.reset();
  playing_ = paused_ = false;
  next_turn_.reset();
  if (const std::int32_t tool = std::exchange(tool_, -1); tool >= 0) {
    if (tool_cancellable_) {
      command(Kind::cancel_tool).id = tool;
    } else {
      orphans_.push_back(tool);
    }
  }
}

void TurnController::open_turn(std::int64_t onset) {
  ++turn_;
  epoch_ = 0;
  speculations_ = 0;
  retried_ = continues_ = false;
  transcript_.clear();
  turn_start_ = onset;
  TurnCommand& open = command(Kind::open_turn);
  open.turn = turn_;
  open.sample = std::max<std::int64_t>(0, onset - samples(timers_.prefix));
  if (!abilities_.native) arm(TurnTimer::cap, onset + samples(timers_.turn_cap));
  listen_on();
}

// Back to hearing the turn; where its speech is over already, the pause has begun with that.
void TurnController::listen_on() {
  state_ = TurnState::user_speaking;
  disarm(TurnTimer::pause);
  disarm(TurnTimer::commit);
  if (!abilities_.native) {
    const std::int64_t end = turn_start_ + samples(timers_.turn_cap);
    if (!timer_armed(TurnTimer::cap)) arm(TurnTimer::cap, std::max(end, now_));
  }
  if (!speaking_) arm(TurnTimer::pause, std::max(now_, speech_end_ + samples(timers_.pause)));
}

// The reply is out, or what there is of it so far.
void TurnController::playout_done() {
  if (!reply_ || state_ == TurnState::bot_paused) return;
  playing_ = false;
  if (!reply_->ended) {
    ++counts_.underruns;
  } else if (tool_ < 0) {
    finish_reply();
  }
}

void TurnController::finish_reply() {
  command(Kind::write_reply).call = reply_->id;
  reply_.reset();
  playing_ = false;
  state_ = TurnState::silence;
  if (next_turn_) {
    open_turn(*std::exchange(next_turn_, std::nullopt));
  } else if (!results_.empty()) {
    second_pass();
  }
}

bool TurnController::at_end_boundary() const {
  return reply_->ended && reply_->length >= 0 &&
         reply_->length - played_ <= samples(timers_.boundary);
}

// A reply to what tools found.
void TurnController::second_pass() {
  continues_ = true;
  retried_ = false;
  state_ = TurnState::settling;
  start_call(false);
}

void TurnController::tool_result(std::int32_t id) {
  if (const auto at = std::find(orphans_.begin(), orphans_.end(), id); at != orphans_.end()) {
    orphans_.erase(at);
    command(Kind::insert_result).id = id;
    return;
  }
  results_.push_back(id);
  if (id == tool_) {
    tool_ = -1;
    // Where its reply still sounds, that comes to its end first.
    if (state_ == TurnState::bot_replying && !playing_ && reply_->ended) finish_reply();
  } else if (state_ == TurnState::silence) {
    second_pass();
  }
}

// The model decides by itself: no speculation, no least length, the same books.
void TurnController::native(const TurnEvent& event) {
  if (event.kind == TurnEvent::Kind::native_shift) {
    if (reply_) finish_reply();
    if (state_ == TurnState::silence) open_turn(speech_start_);
    disarm(TurnTimer::pause);
    call_ = Call{.id = ++calls_, .epoch = epoch_, .sounds = true};
    reply_ = std::exchange(call_, std::nullopt);
    played_ = 0;
    playing_ = true;
    command(Kind::write_user).turn = turn_;
    command(Kind::commit).call = reply_->id;
    state_ = TurnState::bot_replying;
  } else if (reply_) {
    ++counts_.interruptions;
    cut_reply();
    state_ = TurnState::silence;
    if (speaking_) open_turn(speech_start_);
  }
}

// Everything ends here; the history keeps what was heard.
void TurnController::stop_all(bool forget_results) {
  cancel_call();
  if (reply_) cut_reply();
  for (int i = 0; i < kTurnTimers; ++i) disarm(static_cast<TurnTimer>(i));
  if (forget_results) {
    results_.clear();
    orphans_.clear();
  }
  state_ = TurnState::silence;
  speaking_ = continues_ = false;
  next_turn_.reset();
}

TurnCommand& TurnController::command(Kind kind) {
  TurnCommand& made = commands_.emplace_back();
  made.kind = kind;
  return made;
}

void TurnController::arm(TurnTimer timer, std::int64_t date) {
  armed_[static_cast<std::size_t>(timer)] = true;
  TurnCommand& made = command(Kind::arm);
  made.timer = timer;
  made.sample = date;
}

void TurnController::disarm(TurnTimer timer) {
  if (!std::exchange(armed_[static_cast<std::size_t>(timer)], false)) return;
  command(Kind::disarm).timer = timer;
}

}  // namespace parley::live
