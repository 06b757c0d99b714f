// What each turn came to, out of the controller's events and commands; changes nothing.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "live/turn_events.h"

namespace parley::live {

class TurnLog {
 public:
  explicit TurnLog(int hz) : hz_(hz) {}

  // An event, and then each command that answered it, as it is carried out.
  void event(const TurnEvent& event);
  void command(const TurnCommand& command, std::int64_t at);
  // Of a call that is dropped.
  void waste(std::int64_t tokens, std::int64_t cost_ns);
  // The reply's first sound is heard at that sample; its last one (so far) at that.
  void heard_from(std::int64_t at);
  void heard_until(std::int64_t at);

  std::vector<TurnReport> take();
  void clear();

 private:
  TurnReport::Time seconds(std::int64_t sample) const {
    return static_cast<double>(sample) / static_cast<double>(hz_);
  }
  void commit(const TurnCommand& command, std::int64_t at);
  void close();

  int hz_;
  std::optional<TurnReport> now_;
  std::vector<TurnReport> done_;
  std::int64_t speech_start_ = 0;  // the user's latest
  std::int64_t speech_end_ = -1;
  std::int64_t paused_at_ = -1;
  std::int32_t call_ = -1;
  bool call_speculative_ = false;
  std::int64_t ready_at_ = -1;  // that call's first sound
};

}  // namespace parley::live
