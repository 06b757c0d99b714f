// A reply as it is made: a session of its own, its sound and events until they are let out; decides
// nothing.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "parley/parley.hpp"

namespace parley::live {

// A session's event that outlives its step.
struct KeptEvent {
  Event event;
  std::string text;
  std::vector<std::int32_t> codes;
  std::int64_t place = 0;  // of the reply's sound

  explicit KeptEvent(const Event& from);
  // What refers to the rest; valid as long as this is.
  Event whole() const;
};

// Sample 0 of its sound is the first that is more than the silence before the first code.
class Reply {
 public:
  // `session` has heard the user's turn, which ends now. Throws what Session::end_turn() throws.
  Reply(Session session, std::size_t chunk_samples, std::size_t out_chunk_samples);

  // A step more of it; adds to `timing` what that took.
  void make(Timing& timing);

  bool sounds() const { return !sound_.empty(); }
  bool ended() const { return ended_; }
  std::int64_t length() const { return static_cast<std::int64_t>(sound_.size()); }  // so far
  std::int64_t tokens() const { return tokens_; }
  std::int64_t cost_ns() const { return cost_ns_; }
  std::int64_t positions() const { return session_.position(); }
  Session& session() { return session_; }

  // Copies sound from `place` on and returns how much there was.
  std::size_t read(std::int64_t place, std::span<float> out) const;
  // The next event that belongs before `place`; null: none. Ends are told once all sound is.
  const KeptEvent* next_event(std::int64_t place);
  // The session goes on as if only the sound up to `place` had been.
  Session cut(std::int64_t place);
  Session finish() { return std::move(session_); }

 private:
  void keep_sound(std::int64_t begin);

  Session session_;
  std::vector<float> silence_;
  std::vector<float> out_;
  std::vector<float> sound_;
  std::vector<KeptEvent> events_;
  std::size_t told_ = 0;     // events
  std::int64_t first_ = -1;  // the session's sample of the step that drew the first code
  std::int64_t base_ = -1;   // the session's sample where the sound begins
  std::int64_t tokens_ = 0;
  std::int64_t cost_ns_ = 0;
  bool ended_ = false;
};

void add(Timing& sum, const Timing& more);

}  // namespace parley::live
