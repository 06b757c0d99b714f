// What callers do to a session between steps: end a turn, interrupt, reset, close; says nothing.
#include <string>

#include "session/session.h"

namespace parley {

std::unique_lock<std::mutex> Session::Impl::enter(const char* verb) {
  std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  const std::string where = std::string("[session.") + verb + "] ";
  if (!lock.owns_lock()) {
    throw InputError(where +
                     "expected one caller at a time, got a second one; call a session "
                     "from one thread (interrupt(), cancel() and close() from any)");
  }
  if (closed_) {
    throw InputError(where + "expected an open session, got a closed one; make a new session");
  }
  return lock;
}

void Session::Impl::end_turn() {
  const std::unique_lock<std::mutex> lock = enter("end_turn");
  take_turn("end_turn", [&](std::int64_t at) { organs_.listener->end_turn(at); });
}

void Session::Impl::send_text(std::string_view text) {
  const std::unique_lock<std::mutex> lock = enter("send_text");
  take_turn("send_text", [&](std::int64_t at) { organs_.listener->end_turn_with_text(text, at); });
}

// `build` makes the prompt of a turn behind so many positions; where it throws, nothing changes.
template <typename Build>
void Session::Impl::take_turn(const char* verb, Build build) {
  const std::string where = std::string("[session.") + verb + "] ";
  if (!organs_.listener->takes_turns()) {
    throw InputError(where +
                     "expected mode turns, got duplex, where the model hears by itself when "
                     "a turn ends; go on stepping, or open the session with mode turns");
  }
  if (done_.floor != Floor::listening) {
    throw InputError(where +
                     "expected the session to listen, got a reply under way; "
                     "interrupt() first or wait for its end");
  }
  apply_interrupt();  // a late one still says what was heard of the reply before
  build(organs_.mind->next_turn_at());
  organs_.mind->begin_turn();
  done_.floor = Floor::preparing;
  done_.turn_ended = true;
}

// Runs before a step's work, on committed state only, so that it holds even if the step fails.
void Session::Impl::apply_interrupt() {
  if (interrupt_ == kNone) return;
  // What this step will still play counts as heard: with overlap the fade comes a chunk later.
  if (done_.floor == Floor::speaking) catch_up();
  const std::int64_t until = interrupt_.exchange(kNone);
  if (done_.floor == Floor::preparing) {
    organs_.mind->abandon_turn();
    organs_.listener->abandon_turn();
    done_.floor = Floor::listening;
    return;
  }
  const std::int64_t played = done_.index * static_cast<std::int64_t>(organs_.out_chunk_samples);
  const bool all = until == kAllPlayed || until >= played;
  // After a reply's last sample was played, a caller may still say that less was heard.
  if (done_.floor == Floor::listening && all) return;
  const std::size_t upcoming = organs_.overlap ? organs_.out_chunk_samples : 0;
  const std::size_t heard = !done_.sounded ? 0
                            : all          ? speech_->played_codes(upcoming)
                                           : speech_->played_codes_at(until);
  const bool over = organs_.mind->interrupt(heard);
  done_.heard_until = all ? played : until;
  if (!over || done_.floor == Floor::listening) return;
  done_.drop = true;
  done_.cut = done_.drawing;  // else its end was told
  done_.drawing = done_.voicing = false;
  done_.codes.clear();
  done_.floor = Floor::listening;
}

void Session::Impl::fresh_start() {
  done_ = {};
  work_ = {};
  interrupt_ = kNone;
  stop_.clear();
}

void Session::Impl::reset() {
  const std::unique_lock<std::mutex> lock = enter("reset");
  organs_.mind->reset();
  organs_.listener->reset();
  speech_->reset();
  fresh_start();
}

void Session::Impl::close() {
  // Closed first, so that a caller who goes on stepping cannot keep the lock from us.
  if (closed_.exchange(true)) return;
  stop_.set();
  const std::lock_guard<std::mutex> lock(mutex_);
  organs_.listener.reset();
  organs_.mind.reset();
  speech_.reset();
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Step Session::step(std::span<const float> in, std::span<float> out) {
  return impl_->step(in, out);
}
void Session::end_turn() {
  impl_->end_turn();
}
void Session::send_text(std::string_view text) {
  impl_->send_text(text);
}
void Session::interrupt(std::optional<std::int64_t> heard_until) {
  impl_->interrupt(heard_until);
}
void Session::cancel() {
  impl_->cancel();
}
void Session::reset() {
  impl_->reset();
}
void Session::close() {
  impl_->close();
}
Mode Session::mode() const {
  return impl_->mode();
}
Floor Session::floor() const {
  return impl_->floor();
}
std::int64_t Session::position() const {
  return impl_->position();
}
std::size_t Session::delay_samples() const {
  return impl_->delay_samples();
}
std::size_t Session::input_delay_samples() const {
  return impl_->input_delay_samples();
}

Session make_session(Organs organs) {
  return Session(std::make_unique<Session::Impl>(std::move(organs)));
}

}  // namespace parley
