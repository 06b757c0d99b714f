// Steps of a reply's session become its sound, without the silence in front of it, and its events.
#include "live/reply.h"

#include <algorithm>
#include <utility>

namespace parley::live {

KeptEvent::KeptEvent(const Event& from)
    : event(from), text(from.text), codes(from.codes.begin(), from.codes.end()) {}

Event KeptEvent::whole() const {
  Event made = event;
  made.text = text;
  made.codes = codes;
  return made;
}

void add(Timing& sum, const Timing& more) {
  for (std::size_t i = 0; i < kStages; ++i) sum.stage_ns[i] += more.stage_ns[i];
  sum.beside_ns += more.beside_ns;
}

Reply::Reply(Session session, std::size_t chunk_samples, std::size_t out_chunk_samples)
    : session_(std::move(session)), silence_(chunk_samples), out_(out_chunk_samples) {
  session_.end_turn();
}

void Reply::make(Timing& timing) {
  const Step step = session_.step(silence_, out_);
  add(timing, step.timing);
  cost_ns_ += step.timing.total_ns;
  const std::int64_t begin = step.index * static_cast<std::int64_t>(out_.size());
  for (const Event& event : step.events) {
    if (event.kind == EventKind::audio && first_ < 0) {
      first_ = begin;
      base_ = begin + static_cast<std::int64_t>(session_.delay_samples());
    }
    if (event.kind == EventKind::text && event.token >= 0) ++tokens_;
    tokens_ += static_cast<std::int64_t>(event.codes.size());
    KeptEvent kept(event);
    kept.place = first_ < 0 ? 0 : begin - first_;
    events_.push_back(std::move(kept));
  }
  keep_sound(begin);
  ended_ = step.floor == Floor::listening;
  while (ended_ && !sound_.empty() && sound_.back() == 0.0F) sound_.pop_back();
}

void Reply::keep_sound(std::int64_t begin) {
  if (base_ < 0) return;
  const auto skipped = static_cast<std::size_t>(
      std::clamp<std::int64_t>(base_ - begin, 0, static_cast<std::int64_t>(out_.size())));
  sound_.insert(sound_.end(), out_.begin() + static_cast<std::ptrdiff_t>(skipped), out_.end());
}

std::size_t Reply::read(std::int64_t place, std::span<float> out) const {
  const auto at = static_cast<std::size_t>(std::min<std::int64_t>(place, length()));
  const std::size_t n = std::min(out.size(), sound_.size() - at);
  std::copy_n(sound_.begin() + static_cast<std::ptrdiff_t>(at), n, out.begin());
  return n;
}

const KeptEvent* Reply::next_event(std::int64_t place) {
  if (told_ == events_.size()) return nullptr;
  const KeptEvent& next = events_[told_];
  const bool all_heard = ended_ && place >= length();
  const bool is_end = next.event.kind == EventKind::reply_ended;
  const bool due = all_heard || (!is_end && (next.place < place || next.place == 0));
  if (!due) return nullptr;
  ++told_;
  return &next;
}

Session Reply::cut(std::int64_t place) {
  session_.interrupt(base_ < 0 ? 0 : base_ + place);
  return std::move(session_);
}

}  // namespace parley::live
