// A session's insides: the one chunk loop and what it remembers; names no concrete stage.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "session/listen/turns_listener.h"
#include "session/parts.h"
#include "session/speak/speech.h"
#include "session/think/policy.h"
#include "session/think/sampler.h"
#include "session/think/window.h"
#include "session/worker.h"

namespace parley {

class Session::Impl {
 public:
  explicit Impl(SessionParts parts);

  Step step(std::span<const float> in, std::span<float> out);
  void end_turn();
  void send_text(std::string_view text);
  // Both only leave a note, so that a user interface may call them while another thread steps or
  // closes.
  void interrupt() { interrupt_ = true; }
  void cancel() { stop_.set(); }
  void reset();
  void close();

  Mode mode() const { return parts_.duplex ? Mode::duplex : Mode::turns; }
  Floor floor() const { return closed_ ? Floor::closed : done_.floor; }
  std::int64_t position() const;
  std::size_t delay_samples() const { return delay_; }
  std::size_t input_delay_samples() const { return input_delay_; }

 private:
  // Everything small that a step changes; a step works on a copy, commit() keeps it.
  struct Progress {
    Floor floor = Floor::listening;
    EndReason force = EndReason::none;  // why the next control slot is made to stop the reply
    bool turn_ended = false;            // turns: said, not yet told
    bool drawing = false;               // the reply still grows
    bool sounded = false;               // the reply has had a code
    bool drop = false;                  // queued sound is to fade out in this step
    bool cut = false;                   // turns: the reply was interrupted, not yet told
    std::int32_t pending = -1;          // drawn, not yet read by the backbone
    std::uint32_t replies = 0;          // begun so far
    int n_drawn = 0;                    // ids of this reply
    int reply_chunks = 0;               // duplex: chunks of this reply
    std::size_t n_codes = 0;            // codes that wait for the flow decoder
    std::array<std::int32_t, Event::kMaxCodes> codes{};
    std::size_t n_code_positions = 0;
    std::int64_t forgotten = 0;  // positions, not yet told
    Speech::Job job;             // what this step gave the sound; with overlap the next one runs it
    std::int64_t index = 0;      // steps
  };

  // The phases of a step, in order.
  void check_input(std::span<const float> in, std::span<float> out) const;
  void forget_old_chunks();
  void apply_interrupt();
  void begin_sound();
  void think();
  void speak();
  void finish_sound();
  void commit(std::span<float> out);
  void rollback() noexcept;

  void draw(const Plan& first_plan);
  bool wants_more(const Plan& plan, std::size_t slot, int n_draws) const;
  const Plan* take(std::int32_t id, const Plan* plan);  // what a drawn id does
  template <typename Build>
  void take_turn(const char* verb, Build build);
  void pass_codes(bool last);
  void begin_reply();
  void end_reply(EndReason reason);
  void feed(bool want_logits);
  void catch_up();
  std::size_t max_events() const;
  Event& add_event(EventKind kind);
  void add_text(std::int32_t id);
  void fresh_start();
  std::unique_lock<std::mutex> enter(const char* verb);

  SessionParts parts_;
  std::unique_ptr<Policy> policy_;
  std::unique_ptr<Listener> listener_;
  TurnsListener* turns_ = nullptr;  // listener_ where the mode is turns
  Sampler sampler_;
  std::optional<Speech> speech_;
  StatePtr backbone_state_;
  std::optional<ChunkWindow> window_;  // duplex only
  std::size_t delay_ = 0;
  std::size_t input_delay_ = 0;

  Progress done_;                             // as of the last commit
  Progress work_;                             // of the step under way
  std::vector<Position> batch_;               // what the backbone reads next
  std::vector<std::int64_t> code_positions_;  // turns: where each code of the reply lies
  std::int64_t chunk_start_ = 0;              // duplex: position of this chunk's first row
  std::int64_t turn_start_ = 0;               // turns: what an abandoned turn goes back to
  std::int32_t turn_start_pending_ = -1;
  std::vector<Event> events_;
  Timing timing_;
  Timing sound_timing_;     // of the thread that makes it
  bool caught_up_ = false;  // the waiting job ran before this step's work

  StopFlag stop_;
  std::atomic<bool> interrupt_{false};
  std::atomic<bool> closed_{false};
  std::mutex mutex_;                    // held by the one caller; others are told, not queued
  std::optional<Worker> sound_thread_;  // where sound overlaps; last: its task uses the others
};

}  // namespace parley
