// The chunk loop: every conversation, live, offline or benchmarked, goes through Session::step.
#include "session/session.h"

#include <algorithm>
#include <utility>

namespace parley {

namespace {

constexpr std::size_t kPieceBytes = 64;  // of a token's text, to begin with

}  // namespace

Session::Impl::Impl(Organs organs)
    : Impl(organs.setup, std::move(organs.listener), std::move(organs.mind),
           Speech(std::move(organs.synthesizer),
                  {organs.setup.out_chunk_samples, organs.setup.fade_samples,
                   2 * organs.setup.codes_per_chunk})) {}

Session::Impl::Impl(SessionSetup setup, std::unique_ptr<Listener> listener,
                    std::unique_ptr<Mind> mind, Speech speech)
    : setup_(std::move(setup)),
      listener_(std::move(listener)),
      mind_(std::move(mind)),
      speech_(std::move(speech)),
      delay_(speech_->delay()),
      input_delay_(listener_->delay_samples()),
      intake_(setup_.input_hz, setup_.chunk_samples),
      piece_(kPieceBytes) {
  if (!setup_.overlap) return;
  delay_ += setup_.out_chunk_samples;
  sound_thread_.emplace([this] { speech_->run(done_.job, sound_timing_, stop_); });
}

Step Session::Impl::run(std::span<const float> in, std::span<float> out) {
  const std::int64_t start = setup_.clock->now_ns();
  timing_ = {};
  events_.begin(done_.index * static_cast<std::int64_t>(setup_.out_chunk_samples));
  mind_->make_room(done_.floor, timing_);
  apply_interrupt();
  work_ = done_;
  try {
    stop_.check();
    begin_sound();  // with overlap: the last step's codes
    listener_->take_in(in, work_.floor, timing_, stop_);
    decide();        // what the mind says to what was heard
    speak();         // what of that is to be heard
    finish_sound();  // codes to samples
  } catch (...) {
    rollback();
    throw;
  }
  commit(out);
  timing_.total_ns = setup_.clock->now_ns() - start;
  return {events_.finish(), timing_, done_.floor, done_.index - 1};
}

void Session::Impl::decide() {
  if (std::exchange(work_.turn_ended, false)) events_.add(EventKind::turn_ended);
  if (std::exchange(work_.cut, false)) end_reply(EndReason::interrupted);
  const std::size_t waiting = std::min(work_.codes.size(), setup_.codes_per_chunk);
  const Moment now{listener_->heard(), work_.floor, setup_.codes_per_chunk - waiting};
  for (const Said& said : mind_->think(now, timing_, stop_)) take(said);
}

void Session::Impl::take(const Said& said) {
  switch (said.kind) {
    case Said::Kind::listen:
      events_.add(EventKind::think).token = said.id;
      break;
    case Said::Kind::take_floor:
      if (said.id >= 0) events_.add(EventKind::shift).token = said.id;
      if (work_.floor == Floor::listening) events_.add(EventKind::turn_ended);
      begin_reply();
      break;
    case Said::Kind::text:
      spell(said.id);
      break;
    case Said::Kind::call_text:
      work_.call_text.add(piece_of(said.id), work_.call);
      break;
    case Said::Kind::call:
      call_tool();
      break;
    case Said::Kind::code:
      work_.codes.push_back(said.id);
      events_.add_code(said.id);
      break;
    case Said::Kind::speech_end:
      work_.voicing = false;
      break;
    case Said::Kind::give_back:
      events_.add(EventKind::break_).token = said.id;
      end_reply(said.reason);
      work_.floor = Floor::listening;
      work_.drop = true;
      work_.codes.clear();
      events_.drop_codes();
      break;
    case Said::Kind::end:
      end_reply(said.reason);
      break;
    case Said::Kind::forgot:
      events_.add(EventKind::window).count = said.count;
      break;
  }
}

void Session::Impl::begin_reply() {
  work_.floor = Floor::speaking;
  work_.drawing = work_.voicing = true;
  work_.sounded = false;
  work_.codes.clear();
  work_.call.clear();
  ++work_.replies;
  events_.add(EventKind::reply_started);
}

void Session::Impl::end_reply(EndReason reason) {
  work_.drawing = work_.voicing = false;
  if (!work_.text.waiting().empty())
    events_.add_text(-1, [&](std::string& text) { work_.text.finish(text); });
  Event& event = events_.add(EventKind::reply_ended);
  event.reason = reason;
  if (reason == EndReason::interrupted) event.count = work_.heard_until;
}

std::string_view Session::Impl::piece_of(std::int32_t token) {
  const std::size_t n = setup_.tokens->piece(token, piece_);
  if (n > piece_.size()) {
    piece_.resize(n);
    setup_.tokens->piece(token, piece_);
  }
  return {piece_.data(), n};
}

void Session::Impl::call_tool() {
  work_.call_text.finish(work_.call);
  std::string_view call = work_.call;
  if (call.starts_with(setup_.call_begin)) call.remove_prefix(setup_.call_begin.size());
  events_.add_call(call);
  work_.call.clear();
}

void Session::Impl::spell(std::int32_t token) {
  const std::string_view piece = piece_of(token);
  events_.add_text(token, [&](std::string& text) { work_.text.add(piece, text); });
}

// Codes that wait go to the sound in whole chunks, so that borders follow the count alone.
void Session::Impl::speak() {
  work_.job.clear();
  events_.add_codes();
  if (work_.drop) {
    work_.job.drops = work_.sounded;
    return;
  }
  const bool last = !work_.voicing && (done_.voicing || done_.replies != work_.replies);
  const bool chunk_waits = work_.codes.size() >= setup_.codes_per_chunk;
  if (chunk_waits || (last && (work_.sounded || !work_.codes.empty()))) pass_codes(last);
  work_.job.sounding = work_.sounded && work_.floor == Floor::speaking;
}

void Session::Impl::pass_codes(bool last) {
  Speech::Job& job = work_.job;
  job.begins = !std::exchange(work_.sounded, true);
  job.last = last;
  job.seed = setup_.seed;
  job.reply = work_.replies;
  const std::size_t n = last ? work_.codes.size() : setup_.codes_per_chunk;
  const auto end = work_.codes.begin() + static_cast<std::ptrdiff_t>(n);
  job.codes.assign(work_.codes.begin(), end);
  work_.codes.erase(work_.codes.begin(), end);
}

// Nothing here throws: after this the step has happened.
void Session::Impl::commit(std::span<float> out) {
  const Speech::Played played = speech_->commit(out);
  listener_->commit();
  mind_->commit();
  caught_up_ = false;
  if (played.muted > 0)
    events_.add(EventKind::muted).count = static_cast<std::int64_t>(played.muted);
  const Speech::Job& ran = setup_.overlap ? done_.job : work_.job;
  if (ran.sounding && !speech_->finished() && played.samples < out.size())
    events_.add(EventKind::underrun).count = static_cast<std::int64_t>(out.size() - played.samples);
  const bool waits = setup_.overlap && !work_.job.empty();
  const bool over = !work_.sounded || (speech_->finished() && !waits);
  if (work_.floor == Floor::speaking && !work_.drawing && over && speech_->queued() == 0)
    work_.floor = Floor::listening;
  work_.drop = false;
  ++work_.index;
  done_ = work_;
}

void Session::Impl::rollback() noexcept {
  if (sound_thread_) {
    stop_.set();  // no need to finish what is thrown away
    try {
      sound_thread_->wait();
    } catch (...) {  // the caller hears of the first failure
    }
  }
  stop_.clear();
  caught_up_ = false;
  listener_->rollback();
  mind_->rollback();
  speech_->rollback();
}

// With overlap the last step's codes become sound while this step listens and thinks.
void Session::Impl::begin_sound() {
  sound_timing_ = {};
  if (sound_thread_ && !caught_up_ && !done_.job.empty()) sound_thread_->start();
}

void Session::Impl::finish_sound() {
  if (!sound_thread_) {
    speech_->run(work_.job, timing_, stop_);
    return;
  }
  const std::int64_t start = setup_.clock->now_ns();
  sound_thread_->wait();
  const std::int64_t waited = setup_.clock->now_ns() - start;
  for (std::size_t i = 0; i < kStages; ++i) timing_.stage_ns[i] += sound_timing_.stage_ns[i];
  timing_.beside_ns = std::max<std::int64_t>(0, sound_timing_.side_ns(true) - waited);
}

// With overlap: the waiting codes become sound at once, since this step has to know what is heard.
void Session::Impl::catch_up() {
  if (!sound_thread_ || done_.job.empty() || caught_up_) return;
  try {
    speech_->run(done_.job, timing_, stop_);
  } catch (...) {
    rollback();
    throw;
  }
  caught_up_ = true;
}

}  // namespace parley
