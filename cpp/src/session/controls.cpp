// What callers do to a session between steps: end a turn, interrupt, reset, close; draws nothing.
#include <string>

#include "session/session.h"

namespace parley {

std::unique_lock<std::mutex> Session::Impl::enter(const char* verb) {
  std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  const std::string where = std::string("[session.") + verb + "] ";
  if (!lock.owns_lock()) {
    throw InputError(where +
                     "expected one caller at a time, got a second one; do call a session "
                     "from one thread (interrupt(), cancel() and close() from any)");
  }
  if (closed_) {
    throw InputError(where + "expected an open session, got a closed one; do make a new session");
  }
  return lock;
}

void Session::Impl::end_turn() {
  const std::unique_lock<std::mutex> lock = enter("end_turn");
  take_turn("end_turn", [&](std::int64_t held) { turns_->end_turn(held); });
}

void Session::Impl::send_text(std::string_view text) {
  const std::unique_lock<std::mutex> lock = enter("send_text");
  take_turn("send_text", [&](std::int64_t held) { turns_->end_turn_with_text(text, held); });
}

// `build` makes the prompt of a turn behind so many positions; where it throws, nothing changes.
template <typename Build>
void Session::Impl::take_turn(const char* verb, Build build) {
  const std::string where = std::string("[session.") + verb + "] ";
  if (turns_ == nullptr) {
    throw InputError(where +
                     "expected mode turns, got duplex, where the model hears by itself when "
                     "a turn ends; do go on stepping, or open the session with mode turns");
  }
  if (done_.floor != Floor::listening) {
    throw InputError(where +
                     "expected the session to listen, got a reply under way; do "
                     "interrupt() first or wait for its end");
  }
  build(position() + (done_.pending >= 0 ? 1 : 0));
  turn_start_ = parts_.backbone->next_position(*backbone_state_);
  turn_start_pending_ = done_.pending;
  interrupt_ = false;  // a note left too late was for the reply before
  done_.floor = Floor::preparing;
  done_.turn_ended = true;
}

// Runs before a step's work, on committed state only, so that it holds even if the step fails.
void Session::Impl::apply_interrupt() {
  if (!interrupt_) return;
  // What this step will still play counts as heard: with overlap the fade comes a chunk later.
  if (turns_ != nullptr && done_.floor == Floor::speaking) catch_up();
  interrupt_ = false;
  if (done_.floor == Floor::listening) return;
  if (turns_ == nullptr) {
    done_.force = EndReason::interrupted;  // the model reads a BREAK in its next control slot
    return;
  }
  if (done_.floor == Floor::preparing) {
    parts_.backbone->truncate(*backbone_state_, turn_start_);
    turns_->abandon();
    done_.pending = turn_start_pending_;
  } else {
    // The history keeps what was played: codes nobody heard are forgotten, with what follows them.
    const std::size_t heard =
        done_.sounded ? speech_->played_codes(parts_.overlap ? parts_.out_chunk_samples : 0) : 0;
    if (heard < done_.n_code_positions) {
      const std::int64_t position = code_positions_[heard];
      if (position < parts_.backbone->next_position(*backbone_state_))
        parts_.backbone->truncate(*backbone_state_, position);
    }
    done_.pending = policy_->stop_id();
    done_.drop = true;
    done_.cut = done_.drawing;  // else its end was told
  }
  done_.drawing = false;
  done_.n_codes = 0;
  done_.floor = Floor::listening;
}

void Session::Impl::fresh_start() {
  done_ = {};
  work_ = {};
  interrupt_ = false;
  stop_.clear();
  sampler_.reset();
  if (parts_.duplex) sampler_.begin_turn(parts_.duplex->sampling, {});
  sampler_.commit();
}

void Session::Impl::reset() {
  const std::unique_lock<std::mutex> lock = enter("reset");
  parts_.backbone->truncate(*backbone_state_, window_ ? window_->keep() : 0);
  if (window_) window_->clear();
  listener_->reset();
  speech_->reset();
  fresh_start();
}

void Session::Impl::close() {
  // Closed first, so that a caller who goes on stepping cannot keep the lock from us.
  if (closed_.exchange(true)) return;
  stop_.set();
  const std::lock_guard<std::mutex> lock(mutex_);
  listener_.reset();
  turns_ = nullptr;
  speech_.reset();
  backbone_state_.reset();
}

std::int64_t Session::Impl::position() const {
  return closed_ ? 0 : parts_.backbone->held(*backbone_state_);
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
void Session::interrupt() {
  impl_->interrupt();
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

Session make_session(SessionParts parts) {
  return Session(std::make_unique<Session::Impl>(std::move(parts)));
}

}  // namespace parley
