// A step: hear, decide, carry out, think a little, put out.
#include "live/turn_driver.h"

#include <algorithm>
#include <utility>

#include "parley/errors.hpp"

namespace parley::live {

namespace {

constexpr double kFade = 0.005;          // s, of a reply that goes on
constexpr double kMostAhead = 8.0;       // s of a reply that are made before they are heard
constexpr double kPastBeyondTurn = 5.0;  // s that are kept beside the longest turn

}  // namespace

TurnDriver::TurnDriver(TurnDriverParts parts)
    : parts_(std::move(parts)),
      mode_(parts_.session.mode()),
      controller_(
          {.end_of_turn = static_cast<bool>(parts_.end_of_turn), .native = mode_ == Mode::duplex},
          parts_.timers, parts_.input_hz),
      log_(parts_.input_hz),
      session_(std::move(parts_.session)) {}

Step TurnDriver::step(std::span<const float> in, std::span<float> out) {
  if (broken_) {
    throw InputError(
        "[managed.step] expected a conversation that goes on, got one whose last step failed; "
        "reset() it or open another");
  }
  check_cancelled();
  const std::int64_t start = parts_.clock->now_ns();
  timing_ = {};
  events_.clear();
  heard_.reset();
  broken_ = true;  // unless it comes to its end
  run(in, out);
  broken_ = false;
  ++index_;
  shown_.clear();
  for (const KeptEvent& kept : events_) shown_.push_back(kept.whole());
  timing_.total_ns = parts_.clock->now_ns() - start;
  return {shown_, timing_, floor(), index_ - 1};
}

void TurnDriver::run(std::span<const float> in, std::span<float> out) {
  if (const std::int64_t until = interrupted_.exchange(kNone); until != kNone) end_reply(until);
  listen(in);
  if (mode_ == Mode::duplex) {
    observe(in, out);
    return;
  }
  feed_turn();
  begin_call();
  make();
  put_out(out);
}

// Voice activity and timers, in the order of time, up to the chunk's end.
void TurnDriver::listen(std::span<const float> in) {
  past_.insert(past_.end(), in.begin(), in.end());
  const auto kept = static_cast<std::size_t>((parts_.timers.turn_cap + parts_.timers.prefix) /
                                                 1000.0 * parts_.input_hz +
                                             kPastBeyondTurn * parts_.input_hz);
  if (past_.size() > 2 * kept) {
    const std::size_t old = past_.size() - kept;
    past_.erase(past_.begin(), past_.begin() + static_cast<std::ptrdiff_t>(old));
    past_begin_ += static_cast<std::int64_t>(old);
  }
  const std::int64_t start = parts_.clock->now_ns();
  const auto changes = parts_.activity.push(in);
  timing_[Stage::front_end] += parts_.clock->now_ns() - start;
  for (const VoiceActivity::Change& change : changes) {
    advance(std::clamp(change.at, now(), now() + chunk()));
    using Kind = TurnEvent::Kind;
    send({.kind = change.speech ? Kind::speech_on : Kind::speech_off, .sample = change.sample});
  }
  advance(now() + chunk());
}

// Lets the controller's clock run, with the timers that are due meanwhile.
void TurnDriver::advance(std::int64_t to) {
  while (true) {
    int first = -1;
    for (int i = 0; i < kTurnTimers; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (!controller_.timer_armed(static_cast<TurnTimer>(i)) || dates_[at] > to) continue;
      if (first < 0 || dates_[at] < dates_[static_cast<std::size_t>(first)]) first = i;
    }
    if (first < 0) break;
    tell_played(std::max(clock_, dates_[static_cast<std::size_t>(first)]));
    if (!controller_.timer_armed(static_cast<TurnTimer>(first))) continue;
    send({.kind = TurnEvent::Kind::timer, .timer = static_cast<TurnTimer>(first)});
  }
  tell_played(to);
}

// What the loudspeaker has played of the reply by then.
void TurnDriver::tell_played(std::int64_t at) {
  clock_ = std::max(clock_, at);
  if (!reply_) return;
  std::int64_t place = place_;
  bool dry = false;
  if (!paused_ && !written_.empty()) {
    const Written& last = written_.back();
    const std::int64_t begin = heard_at(last.sample);
    const std::int64_t gone = (clock_ - begin) * out_chunk() / chunk();
    const std::int64_t n = std::clamp<std::int64_t>(gone, 0, last.n);
    place = last.place + n;
    dry = gone > last.n;
    if (last.n > 0) log_.heard_until(begin + on_input(n));
  }
  send({.kind = TurnEvent::Kind::played, .sample = on_input(place)});
  // Where a whole chunk was written, more of it comes with this step.
  if (!reply_ || paused_ || place < reply_->length() || !(dry || reply_->ended())) return;
  if (reply_->length() == told_end_ && reply_->ended() == told_whole_) return;
  told_end_ = reply_->length();
  told_whole_ = reply_->ended();
  send({.kind = TurnEvent::Kind::playout_done});
}

void TurnDriver::send(TurnEvent event) {
  event.at = clock_;
  log_.event(event);
  const auto answered = controller_.on(event);
  const std::vector<TurnCommand> commands(answered.begin(), answered.end());
  for (const TurnCommand& command : commands) {
    if (told_) told_(command, clock_);
    carry_out(command);
    log_.command(command, clock_);
  }
  for (const TurnCommand& command : commands)
    if (command.kind == TurnCommand::Kind::ask_eot) ask_end_of_turn(command);
}

void TurnDriver::carry_out(const TurnCommand& command) {
  using Kind = TurnCommand::Kind;
  if (mode_ == Mode::duplex) {  // the model carries out what it decides
    if (command.kind == Kind::commit) reply_id_ = command.call;
    if (command.kind != Kind::arm) return;
  }
  switch (command.kind) {
    case Kind::open_turn:
      turn_open_ = true;
      // Whole chunks, so that the session waits for none when it is forked.
      turn_begin_ = fed_ = std::max(command.sample / chunk() * chunk(), past_chunk());
      break;
    case Kind::start_call:
      wanted_ = PendingCall{command.call, command.speculative};
      break;
    case Kind::cancel_call:
      wanted_.reset();
      if (call_) log_.waste(call_->tokens(), call_->cost_ns());
      call_.reset();
      break;
    case Kind::commit:
      commit_call();
      break;
    case Kind::pause_playout:
      stop_playing();
      break;
    case Kind::resume_playout:
      paused_ = false;
      fade_in_ = out_samples(kFade);
      break;
    case Kind::flush_playout:
      if (!paused_) stop_playing();
      break;
    case Kind::truncate_reply:
    case Kind::drop_reply:
      cut_reply();
      break;
    case Kind::write_reply:
      finish_reply();
      break;
    case Kind::report_failure:
      abandon_turn();
      break;
    case Kind::arm:
      dates_[static_cast<std::size_t>(command.timer)] = command.sample;
      break;
    default:  // books, and what only a recognizer or tools would answer
      break;
  }
}

void TurnDriver::ask_end_of_turn(const TurnCommand& ask) {
  const auto begin = static_cast<std::size_t>(std::max<std::int64_t>(0, turn_begin_ - past_begin_));
  const auto end = static_cast<std::size_t>(
      std::min(clock_ - past_begin_, static_cast<std::int64_t>(past_.size())));
  const double p = parts_.end_of_turn(std::span<const float>(past_).subspan(begin, end - begin),
                                      parts_.input_hz);
  send({.kind = TurnEvent::Kind::eot_score, .turn = ask.turn, .epoch = ask.epoch, .score = p});
}

// Runs a step of a session, which cancel() can reach meanwhile.
void TurnDriver::work(Session& session, const std::function<void()>& step) {
  const auto set = [this](Session* now) {
    const std::lock_guard<std::mutex> lock(lock_);
    working_ = now;
    if (now != nullptr && std::exchange(cancelled_, false)) now->cancel();
  };
  set(&session);
  try {
    step();
  } catch (...) {
    set(nullptr);
    throw;
  }
  set(nullptr);
}

// The session hears the open turn up to the end of this chunk.
void TurnDriver::feed_turn() {
  if (!turn_open_) return;
  std::vector<float> unheard(parts_.out_chunk_samples);
  for (; fed_ < now() + chunk(); fed_ += chunk()) {
    const auto at = static_cast<std::size_t>(fed_ - past_begin_);
    const auto heard = std::span<const float>(past_).subspan(at, parts_.chunk_samples);
    work(*session_, [&] { add(timing_, session_->step(heard, unheard).timing); });
  }
}

// A reply is begun on a fork, so that dropping it costs no history.
void TurnDriver::begin_call() {
  if (!wanted_) return;
  const PendingCall wanted = *std::exchange(wanted_, std::nullopt);
  call_id_ = wanted.id;
  call_sounds_ = call_ended_ = false;
  if (!end_turn()) send({.kind = TurnEvent::Kind::call_failed, .call = call_id_});
}

// False: nothing was said that a turn could be made of.
bool TurnDriver::end_turn() {
  for (const bool again : {false, true}) {
    try {
      call_ =
          std::make_unique<Reply>(session_->fork(), parts_.chunk_samples, parts_.out_chunk_samples);
      return true;
    } catch (const ContextError&) {
      if (again) break;
      renew();
    } catch (const InputError&) {
      break;
    }
  }
  return false;
}

// The context is full: the conversation begins anew with the turn under way.
void TurnDriver::renew() {
  Event forgot{.kind = EventKind::window, .sample = index_ * out_chunk()};
  forgot.count = session_->position();
  events_.emplace_back(forgot);
  session_->reset();
  fed_ = turn_begin_ = std::max(turn_begin_, past_chunk());
  feed_turn();
}

// A step of the reply that is thought of, or of the one that is out.
void TurnDriver::make() {
  Reply* reply = call_ ? call_.get() : reply_.get();
  if (reply == nullptr || reply->ended()) return;
  const std::int64_t heard = reply == reply_.get() ? place_ : 0;
  if (reply->length() - heard > static_cast<std::int64_t>(out_samples(kMostAhead))) return;
  work(reply->session(), [&] { reply->make(timing_); });
  const std::int32_t id = call_ ? call_id_ : reply_id_;
  using Kind = TurnEvent::Kind;
  if (reply->sounds() && !std::exchange(call_sounds_, true))
    send({.kind = Kind::call_audio, .call = id});
  if (reply->ended() && !std::exchange(call_ended_, true))
    send({.kind = Kind::call_end, .sample = on_input(reply->length()), .call = id});
}

Floor TurnDriver::floor() const {
  if (mode_ == Mode::duplex) return session_->floor();
  const TurnState state = controller_.state();
  if (state == TurnState::settling) return Floor::preparing;
  const bool speaks = state == TurnState::bot_replying || state == TurnState::bot_paused;
  return speaks ? Floor::speaking : Floor::listening;
}

// The caller's word, not the user's: nothing of what was begun stays.
void TurnDriver::end_reply(std::int64_t heard_until) {
  if (heard_until >= 0) heard_ = heard_until;
  if (mode_ == Mode::duplex) session_->interrupt(heard_);
  send({.kind = TurnEvent::Kind::reset});
  if (turn_open_) abandon_turn();
  if (parts_.activity.speaks()) send({.kind = TurnEvent::Kind::speech_on, .sample = now()});
}

void TurnDriver::check_cancelled() {
  const std::lock_guard<std::mutex> lock(lock_);
  if (std::exchange(cancelled_, false))
    throw CancelledError("[managed.step] expected to run, got cancelled; call step() again");
}

void TurnDriver::cancel() {
  const std::lock_guard<std::mutex> lock(lock_);
  if (working_ != nullptr) {
    working_->cancel();
  } else {
    cancelled_ = true;
  }
}

void TurnDriver::reset() {
  send({.kind = TurnEvent::Kind::reset});
  session_->reset();
  parts_.activity.reset();
  log_.clear();
  past_.clear();
  past_begin_ = index_ = clock_ = 0;
  turn_open_ = broken_ = false;
  interrupted_ = kNone;
  written_.clear();
  fade_out_.clear();
}

void TurnDriver::close() {
  call_.reset();
  reply_.reset();
  session_.reset();
  past_ = {};
}

}  // namespace parley::live
