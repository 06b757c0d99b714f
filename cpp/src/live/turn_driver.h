// Runs the turn controller over a session, chunk by chunk on the sample clock: voice activity and
// timers in, forks, playback and history out. Knows no device and no bundle.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "live/reply.h"
#include "live/turn_controller.h"
#include "live/turn_log.h"
#include "live/voice_activity.h"
#include "parley/managed.hpp"

namespace parley::live {

struct TurnDriverParts {
  Session session;  // in turns; in duplex the driver only observes
  VoiceActivity activity;
  TurnTimers timers;
  std::function<double(std::span<const float>, int)> end_of_turn;  // may be none
  std::shared_ptr<const Clock> clock;                              // of timings, no more
  int input_hz = 24000;
  std::size_t chunk_samples = 3840;
  std::size_t out_chunk_samples = 3840;
};

// Everything the user says goes to one session, chunk by chunk, while a turn is open. A reply is
// made on a fork of it, which the commit puts in its place; so what is dropped leaves no trace.
// While a reply is out, the microphone waits in `past_`: it belongs to a turn or to nobody.
class TurnDriver {
 public:
  explicit TurnDriver(TurnDriverParts parts);

  // As Managed's.
  Step step(std::span<const float> in, std::span<float> out);
  void interrupt(std::optional<std::int64_t> heard_until) {
    interrupted_ = heard_until ? std::max<std::int64_t>(0, *heard_until) : kAllPlayed;
  }
  void cancel();
  void reset();
  void close();
  void on_silence(std::function<std::int64_t()> drop) { drop_ = std::move(drop); }
  std::vector<TurnReport> take_turns() { return log_.take(); }

  Mode mode() const { return mode_; }
  Floor floor() const;
  std::int64_t position() const { return reply_ ? reply_->positions() : session_->position(); }
  const TurnController& controller() const { return controller_; }
  // Of the commands since the last call, for tests.
  using Told = std::function<void(const TurnCommand&, std::int64_t at)>;
  void tell(Told told) { told_ = std::move(told); }

 private:
  // Notes of interrupt(): none, or that all was heard that was written.
  static constexpr std::int64_t kNone = -1;
  static constexpr std::int64_t kAllPlayed = -2;

  // Sound that a step wrote: from `place` of the reply, `n` samples, at `sample` of the output.
  struct Written {
    std::int64_t sample = 0;
    std::int64_t place = 0;
    std::int64_t n = 0;
  };
  struct PendingCall {
    std::int32_t id = 0;
    bool speculative = false;
  };

  void run(std::span<const float> in, std::span<float> out);
  void observe(std::span<const float> in, std::span<float> out);
  void observe_event(const Event& event);
  void check_cancelled();
  void end_reply(std::int64_t heard_until);
  void listen(std::span<const float> in);
  void advance(std::int64_t to);
  void tell_played(std::int64_t at);
  void send(TurnEvent event);
  void carry_out(const TurnCommand& command);
  void ask_end_of_turn(const TurnCommand& ask);

  void feed_turn();
  void begin_call();
  bool end_turn();
  void renew();
  void make();
  void commit_call();
  void stop_playing();
  void cut_reply();
  void finish_reply();
  void abandon_turn();
  void put_out(std::span<float> out);
  void let_out(const KeptEvent& kept);
  std::int64_t cut_place() const;
  void work(Session& session, const std::function<void()>& step);

  std::int64_t now() const { return index_ * chunk(); }  // where this step begins
  std::int64_t chunk() const { return static_cast<std::int64_t>(parts_.chunk_samples); }
  std::int64_t out_chunk() const { return static_cast<std::int64_t>(parts_.out_chunk_samples); }
  // The first sample of the microphone that is kept and begins a chunk.
  std::int64_t past_chunk() const { return (past_begin_ + chunk() - 1) / chunk() * chunk(); }
  // From the output's timeline to the input's; and when what lies there is heard.
  std::int64_t on_input(std::int64_t sample) const { return sample * chunk() / out_chunk(); }
  std::int64_t heard_at(std::int64_t sample) const { return on_input(sample) + chunk(); }
  std::size_t out_samples(double seconds) const {
    return static_cast<std::size_t>(seconds * parts_.input_hz * static_cast<double>(out_chunk()) /
                                    static_cast<double>(chunk()));
  }

  TurnDriverParts parts_;
  Mode mode_;
  TurnController controller_;
  TurnLog log_;
  Told told_;
  std::optional<Session> session_;  // none while a reply is out: it has it
  std::optional<PendingCall> wanted_;
  std::unique_ptr<Reply> call_;   // thought, not committed
  std::unique_ptr<Reply> reply_;  // committed
  std::int32_t call_id_ = 0;
  std::int32_t reply_id_ = 0;
  bool call_sounds_ = false;  // told
  bool call_ended_ = false;

  std::int64_t index_ = 0;
  std::int64_t clock_ = 0;  // of the controller; never goes back
  std::array<std::int64_t, kTurnTimers> dates_{};
  std::vector<float> past_;  // of the microphone
  std::int64_t past_begin_ = 0;
  bool turn_open_ = false;
  std::int64_t turn_begin_ = 0;
  std::int64_t fed_ = 0;  // the session has heard the turn up to there

  std::int64_t place_ = 0;  // of the reply: what is written next
  bool paused_ = false;
  std::size_t fade_in_ = 0;      // samples
  std::vector<float> fade_out_;  // what was next when the sound stopped
  std::deque<Written> written_;
  std::int64_t told_end_ = -1;  // of the reply, as playout_done
  bool told_whole_ = false;
  std::function<std::int64_t()> drop_;
  std::optional<std::int64_t> heard_;  // where the reply fell silent in this step

  std::vector<KeptEvent> events_;  // of this step
  std::vector<Event> shown_;
  Timing timing_;
  bool broken_ = false;
  std::atomic<std::int64_t> interrupted_{kNone};
  std::mutex lock_;  // of the two below
  Session* working_ = nullptr;
  bool cancelled_ = false;
};

}  // namespace parley::live
