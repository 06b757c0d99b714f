// A reply goes out: its commit, its sound and events, how it stops, what the history keeps of it;
// and a model that decides all that itself.
#include <algorithm>
#include <utility>

#include "live/turn_driver.h"
#include "parley/errors.hpp"

namespace parley::live {

namespace {

constexpr double kFade = 0.005;  // s, of a reply that stops
constexpr std::size_t kMostWritten = 64;

}  // namespace

void TurnDriver::commit_call() {
  reply_ = std::move(call_);
  reply_id_ = call_id_;
  session_.reset();
  turn_open_ = false;
  place_ = 0;
  paused_ = false;
  fade_in_ = 0;
  written_.clear();
  told_end_ = -1;
  told_whole_ = false;
}

// Where the reply stops when it stops now: behind what was written, or what the caller says will
// have been heard of that.
std::int64_t TurnDriver::cut_place() const {
  if (!heard_) return place_;
  for (auto it = written_.rbegin(); it != written_.rend(); ++it)
    if (it->sample <= *heard_)
      return it->place + std::clamp<std::int64_t>(*heard_ - it->sample, 0, it->n);
  return written_.empty() ? place_ : written_.front().place;
}

void TurnDriver::stop_playing() {
  if (!heard_ && drop_) heard_ = drop_();
  const std::int64_t place = cut_place();
  const bool dropped = place < place_;  // the rest lay in the caller's queue
  place_ = place;
  paused_ = true;
  const std::int64_t last = written_.empty() ? 0 : written_.back().sample + written_.back().n;
  if (place_ > 0) log_.heard_until(heard_at(heard_ ? std::min(*heard_, last) : last));
  fade_out_.resize(out_samples(kFade));
  fade_out_.resize(dropped ? 0 : reply_->read(place_, fade_out_));
}

// The history keeps what was heard.
void TurnDriver::cut_reply() {
  Event end{.kind = EventKind::reply_ended, .reason = EndReason::interrupted};
  end.sample = end.count = index_ * out_chunk();
  if (heard_) end.count = std::min(end.count, *heard_);
  events_.emplace_back(end);
  session_ = reply_->cut(place_);
  reply_.reset();
  paused_ = false;
}

void TurnDriver::finish_reply() {
  while (const KeptEvent* event = reply_->next_event(reply_->length())) let_out(*event);
  session_ = reply_->finish();
  reply_.reset();
}

// What was heard of a turn that nobody will answer is not to be a part of the next one.
void TurnDriver::abandon_turn() {
  turn_open_ = false;
  try {
    session_->end_turn();
    session_->interrupt();
  } catch (const InputError&) {  // nothing was heard
  } catch (const ContextError&) {
    session_->reset();
  }
}

void TurnDriver::put_out(std::span<float> out) {
  std::fill(out.begin(), out.end(), 0.0F);
  const auto steps = static_cast<float>(fade_out_.size());
  for (std::size_t i = 0; i < fade_out_.size(); ++i)
    out[i] = fade_out_[i] * (1.0F - static_cast<float>(i + 1) / steps);
  fade_out_.clear();
  if (!reply_ || paused_) return;
  const std::int64_t sample = index_ * out_chunk();
  const auto n = static_cast<std::int64_t>(reply_->read(place_, out));
  for (std::size_t i = 0; i < std::min(fade_in_, out.size()); ++i)
    out[i] *= static_cast<float>(i) / static_cast<float>(fade_in_);
  fade_in_ = 0;
  written_.push_back({sample, place_, n});
  if (written_.size() > kMostWritten) written_.pop_front();
  if (n > 0 && place_ == 0) log_.heard_from(heard_at(sample));
  place_ += n;
  while (const KeptEvent* event = reply_->next_event(place_)) let_out(*event);
}

void TurnDriver::let_out(const KeptEvent& kept) {
  KeptEvent& told = events_.emplace_back(kept);
  told.event.sample = index_ * out_chunk();
}

void TurnDriver::observe(std::span<const float> in, std::span<float> out) {
  std::vector<KeptEvent> told;
  work(*session_, [&] {
    const Step step = session_->step(in, out);
    add(timing_, step.timing);
    for (const Event& event : step.events) told.emplace_back(event);
  });
  const auto sounds = [](float x) { return x != 0.0F; };
  const auto first = std::find_if(out.begin(), out.end(), sounds);
  const auto last = std::find_if(out.rbegin(), out.rend(), sounds).base();
  const std::int64_t sample = index_ * out_chunk();
  if (first != out.end()) {
    log_.heard_from(heard_at(sample + (first - out.begin())));
    log_.heard_until(heard_at(sample + (last - out.begin())));
  }
  for (KeptEvent& kept : told) observe_event(events_.emplace_back(std::move(kept)).event);
}

void TurnDriver::observe_event(const Event& event) {
  using Kind = TurnEvent::Kind;
  if (event.kind == EventKind::reply_started) send({.kind = Kind::native_shift});
  if (event.kind != EventKind::reply_ended) return;
  // A BREAK over the user's speech is an interruption, another one the reply's own end.
  if (parts_.activity.speaks() || event.reason == EndReason::interrupted) {
    send({.kind = Kind::native_break});
  } else {
    send({.kind = Kind::call_end, .call = reply_id_});
    send({.kind = Kind::playout_done});
  }
}

}  // namespace parley::live
