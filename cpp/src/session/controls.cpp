// What callers do to a session between steps: end a turn, interrupt, reset, close; says nothing.
#include <string>

#include "session/session.h"

namespace parley {

std::unique_lock<std::mutex> Session::Impl::enter(const char* verb) {
  std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  const std::string where = std::string("[session.") + verb + "] ";
  if (!lock.owns_lock()) {
    throw BusyError(where +
                    "expected one caller at a time, got a second one; call a session "
                    "from one thread (interrupt(), cancel() and close() from any)");
  }
  if (closed_) {
    throw ClosedError(where + "expected an open session, got a closed one; make a new session");
  }
  return lock;
}

void Session::Impl::end_turn() {
  const std::unique_lock<std::mutex> lock = enter("end_turn");
  intake_.end_stream();
  end_in_ = static_cast<std::int64_t>(listener_->takes_turns() ? intake_.waiting() : 0);
  end_turn_if_due();
}

void Session::Impl::end_turn_if_due() {
  if (!end_in_ || *end_in_ > 0) return;
  const auto filled = static_cast<std::size_t>(-*end_in_);
  end_in_.reset();
  take_turn("end_turn", [&](std::int64_t at) { listener_->end_turn(at, filled); });
}

void Session::Impl::send_text(std::string_view text) {
  const std::unique_lock<std::mutex> lock = enter("send_text");
  take_turn("send_text", [&](std::int64_t at) { listener_->end_turn_with_text(text, at); });
}

void Session::Impl::send_result(std::string_view name, std::string_view content) {
  const std::unique_lock<std::mutex> lock = enter("send_result");
  if (!listener_->takes_turns() || setup_.call_begin.empty()) {
    throw InputError(
        "[session.send_result] expected mode turns of a model that calls tools, got another; send "
        "what it asked for");
  }
  done_.results.emplace_back(name, content);
  read_result_if_due();
}

// Results wait until the reply under way was heard; then each is a turn.
void Session::Impl::read_result_if_due() {
  if (done_.results.empty() || done_.floor != Floor::listening || interrupt_ != kNone) return;
  const auto [name, content] = std::move(done_.results.front());
  done_.results.erase(done_.results.begin());
  take_turn("send_result",
            [&](std::int64_t at) { listener_->end_turn_with_result(name, content, at); });
}

// `build` makes the prompt of a turn behind so many positions; where it throws, nothing changes.
template <typename Build>
void Session::Impl::take_turn(const char* verb, Build build) {
  const std::string where = std::string("[session.") + verb + "] ";
  if (!listener_->takes_turns()) {
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
  build(mind_->next_turn_at());
  mind_->begin_turn();
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
    mind_->abandon_turn();
    listener_->abandon_turn();
    done_.floor = Floor::listening;
    return;
  }
  const std::int64_t played = done_.index * static_cast<std::int64_t>(setup_.out_chunk_samples);
  const bool all = until == kAllPlayed || until >= played;
  // After a reply's last sample was played, a caller may still say that less was heard.
  if (done_.floor == Floor::listening && all) return;
  const std::size_t upcoming = setup_.overlap ? setup_.out_chunk_samples : 0;
  const std::size_t heard = !done_.sounded ? 0
                            : all          ? speech_->played_codes(upcoming)
                                           : speech_->played_codes_at(until);
  const bool over = mind_->interrupt(heard);
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
  mind_->reset();
  listener_->reset();
  speech_->reset();
  intake_.clear();
  end_in_.reset();
  fresh_start();
}

void Session::Impl::close() {
  // Closed first, so that a caller who goes on stepping cannot keep the lock from us.
  if (closed_.exchange(true)) return;
  stop_.set();
  const std::lock_guard<std::mutex> lock(mutex_);
  listener_.reset();
  mind_.reset();
  speech_.reset();
}

std::optional<Snapshot> Session::Impl::snapshot() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!mind_) return std::nullopt;
  return Snapshot{.floor = done_.floor,
                  .drawing = done_.drawing,
                  .voicing = done_.voicing,
                  .told = !done_.turn_ended && !done_.cut && !done_.drop,
                  .replies = done_.replies,
                  .steps = done_.index,
                  .played_chunks = speech_->chunks(),
                  .codes = done_.codes.size(),
                  .codes_per_chunk = setup_.codes_per_chunk,
                  .queued = speech_->queued(),
                  .finished = speech_->finished(),
                  .job_waits = setup_.overlap && !done_.job.empty(),
                  .held = mind_->positions(),
                  .next_at = mind_->next_turn_at()};
}

}  // namespace parley
