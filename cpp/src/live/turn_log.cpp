// Books of turns: when what happened, what was wasted, what went wrong.
#include "live/turn_log.h"

#include <utility>

namespace parley::live {

namespace {

constexpr double kFalseEndpoint = 0.5;    // s after a reply's begin in which the user went on
constexpr double kMissedEndpoint = 3.0;   // s of silence before a reply was decided
constexpr std::size_t kMostTurns = 1000;  // that wait to be taken

}  // namespace

void TurnLog::event(const TurnEvent& event) {
  using Kind = TurnEvent::Kind;
  if (event.kind == Kind::speech_on) {
    speech_start_ = event.sample;
    if (now_ && now_->audio_out && !now_->reply_end) {
      now_->false_endpoint |= *seconds(event.sample) - *now_->audio_out <= kFalseEndpoint;
    }
  } else if (event.kind == Kind::speech_off) {
    speech_end_ = event.sample;
    if (now_ && !now_->commit) now_->speech_end = seconds(event.sample);
  } else if (event.kind == Kind::timer && event.timer == TurnTimer::pause) {
    if (now_ && !now_->commit) now_->pause = seconds(event.at);
  } else if (event.kind == Kind::call_audio && event.call == call_) {
    ready_at_ = event.at;
  } else if (event.kind == Kind::call_failed && event.call == call_ && now_) {
    ++now_->calls_failed;
  }
}

void TurnLog::command(const TurnCommand& command, std::int64_t at) {
  using Kind = TurnCommand::Kind;
  if (command.kind == Kind::open_turn) {
    close();
    now_.emplace();
    now_->turn = command.turn;
    now_->speech_start = seconds(speech_start_);
    if (speech_end_ > speech_start_) now_->speech_end = seconds(speech_end_);
    return;
  }
  if (!now_) return;
  switch (command.kind) {
    case Kind::start_call:
      ++now_->calls_started;
      call_ = command.call;
      call_speculative_ = command.speculative;
      ready_at_ = -1;
      break;
    case Kind::cancel_call:
      ++now_->calls_cancelled;
      break;
    case Kind::commit:
      commit(command, at);
      break;
    case Kind::pause_playout:
      paused_at_ = at;
      break;
    case Kind::resume_playout:
      ++now_->false_interruptions;
      now_->resume_gap_s += *seconds(at - std::exchange(paused_at_, at));
      break;
    case Kind::truncate_reply:
    case Kind::drop_reply:
      now_->interrupted = seconds(speech_start_);
      break;
    case Kind::write_reply:
      close();
      break;
    case Kind::report_failure:
      now_->failed = true;
      close();
      break;
    default:
      break;
  }
}

void TurnLog::commit(const TurnCommand& command, std::int64_t at) {
  now_->commit = seconds(at);
  if (command.call != call_) return;  // of a model that decides itself
  now_->speculative = call_speculative_;
  if (ready_at_ >= 0) now_->audio_ready = seconds(ready_at_);
  if (now_->speech_end) now_->missed_endpoint = *now_->commit - *now_->speech_end > kMissedEndpoint;
}

void TurnLog::waste(std::int64_t tokens, std::int64_t cost_ns) {
  if (!now_) return;
  now_->wasted_tokens += tokens;
  now_->wasted_ms += static_cast<double>(cost_ns) * 1e-6;
}

void TurnLog::heard_from(std::int64_t at) {
  if (now_ && now_->commit && !now_->audio_out) now_->audio_out = seconds(at);
}

void TurnLog::heard_until(std::int64_t at) {
  if (now_ && now_->audio_out) now_->reply_end = seconds(at);
}

void TurnLog::close() {
  if (!now_) return;
  if (done_.size() == kMostTurns) done_.erase(done_.begin());
  done_.push_back(*std::exchange(now_, std::nullopt));
}

std::vector<TurnReport> TurnLog::take() {
  return std::exchange(done_, {});
}

void TurnLog::clear() {
  now_.reset();
  done_.clear();
  speech_end_ = paused_at_ = ready_at_ = -1;
  speech_start_ = 0;
  call_ = -1;
}

}  // namespace parley::live
