// A session's insides: the one chunk loop over listener, mind and speech; knows no id and no mode.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "session/event_list.h"
#include "session/intake.h"
#include "session/invariants.h"
#include "session/organs.h"
#include "session/speak/speech.h"
#include "session/text_joiner.h"
#include "session/worker.h"

namespace parley {

class Session::Impl {
 public:
  explicit Impl(Organs organs);
  // The insides, for a bundle and for tests.
  static Impl& of(Session& session) { return *session.impl_; }

  Step step(std::span<const float> in, std::span<float> out);
  void feed(std::span<const float> in, int hz);
  std::optional<Step> next(std::span<float> out);
  void flush();
  std::size_t waiting() const { return intake_.waiting(); }
  void end_turn();
  void send_text(std::string_view text);
  void send_result(std::string_view name, std::string_view content);
  // Both only leave a note, so that a user interface may call them while another thread steps or
  // closes.
  void interrupt(std::optional<std::int64_t> heard_until) {
    interrupt_ = heard_until ? std::max<std::int64_t>(0, *heard_until) : kAllPlayed;
  }
  void cancel() { stop_.set(); }
  void reset();
  void close();
  std::unique_ptr<Impl> fork();
  void save(const std::string& path);
  void load(ByteReader& from);
  std::optional<Snapshot> snapshot() const;  // nothing: it is closed

  Mode mode() const { return setup_.mode; }
  Floor floor() const { return closed_ ? Floor::closed : done_.floor; }
  std::int64_t position() const { return closed_ ? 0 : mind_->positions(); }
  std::size_t delay_samples() const { return delay_; }
  std::size_t input_delay_samples() const { return input_delay_; }

 private:
  // Notes of interrupt(): none, or that all was heard that was played.
  static constexpr std::int64_t kNone = -1;
  static constexpr std::int64_t kAllPlayed = -2;

  // Everything small that a step changes; a step works on a copy, commit() keeps it.
  struct Progress {
    Floor floor = Floor::listening;
    bool turn_ended = false;       // said by the caller, not yet told
    bool drawing = false;          // the reply still grows
    bool voicing = false;          // and codes may follow
    bool sounded = false;          // the reply has had a code
    bool drop = false;             // queued sound is to fade out in this step
    bool cut = false;              // the reply was interrupted, not yet told
    std::int64_t heard_until = 0;  // of the reply that was interrupted last, on the output timeline
    std::uint32_t replies = 0;     // begun so far
    std::int64_t index = 0;        // steps
    std::vector<std::int32_t> codes;  // that wait for the synthesizer
    Speech::Job job;  // what this step gave the sound; with overlap the next one runs it
    TextJoiner text;
    TextJoiner call_text;
    std::string call;                                          // of a tool, as far as it came
    std::vector<std::pair<std::string, std::string>> results;  // name and content, not yet read
  };

  // The phases of a step, in order.
  Step run(std::span<const float> in, std::span<float> out);
  void apply_interrupt();
  void begin_sound();
  void decide();
  void speak();
  void finish_sound();
  void commit(std::span<float> out);
  void rollback() noexcept;

  void take(const Said& said);
  void begin_reply();
  void end_reply(EndReason reason);
  std::string_view piece_of(std::int32_t token);
  void spell(std::int32_t token);
  void call_tool();
  void pass_codes(bool last);
  void catch_up();
  void fresh_start();
  Impl(SessionSetup setup, std::unique_ptr<Listener> listener, std::unique_ptr<Mind> mind,
       Speech speech);
  void refuse_waiting(const std::string& verb) const;
  void end_turn_if_due();
  void read_result_if_due();
  template <typename Build>
  void take_turn(const char* verb, Build build);
  std::unique_lock<std::mutex> enter(const char* verb);

  SessionSetup setup_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Mind> mind_;
  std::optional<Speech> speech_;
  std::size_t delay_ = 0;
  std::size_t input_delay_ = 0;

  Progress done_;  // as of the last commit
  Progress work_;  // of the step under way
  Intake intake_;
  std::optional<std::int64_t> end_in_;  // the turn ends when so many more samples were heard
  EventList events_;
  std::vector<char> piece_;  // scratch: a token's bytes
  Timing timing_;
  Timing sound_timing_;     // of the thread that makes it
  bool caught_up_ = false;  // the waiting job ran before this step's work

  StopFlag stop_;
  std::atomic<std::int64_t> interrupt_{kNone};
  std::atomic<bool> closed_{false};
  mutable std::mutex mutex_;            // held by the one caller; others are told, not queued
  std::optional<Worker> sound_thread_;  // where sound overlaps; last: its task uses the others
};

}  // namespace parley
