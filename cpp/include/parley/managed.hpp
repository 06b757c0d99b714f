// Managed turns: a bundle that answers whole turns holds a full-duplex conversation, because the
// engine decides when a turn is over, thinks of a reply before it is, and falls silent when the
// user cuts in.
//
//   parley::Managed talk(bundle, bundle.session({.mode = parley::Mode::turns}), {});
//   const parley::Step step = talk.step(in, out);  // as Session's, and as it is heard
//   for (const parley::TurnReport& turn : talk.take_turns()) show(turn);
//
// Over a session in duplex it decides nothing and reports the same of what the model decides.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parley/parley.hpp"

namespace parley {

// Milliseconds, but for the two counts. Where they come from: Step-Audio's paper names the states
// and no number; these are the defaults of the two open voice stacks most in use.
struct TurnTimers {
  int onset = 50;             // so long a sound is speech
  int release = 100;          // so long a silence ends it
  int prefix = 500;           // sound in front of an onset that belongs to the turn
  int pause = 200;            // silence that starts a speculative reply ("h")
  int commit_complete = 300;  // silence that ends a turn which the end-of-turn model calls complete
  int commit_plain = 700;     // the same without a verdict ("C")
  int commit_incomplete = 2500;   // the same where the model calls it incomplete
  int interruption = 500;         // speech over a reply that is an interruption, not a backchannel
  int false_interruption = 2000;  // with a recognizer: wait for words, then go on with the reply
  int boundary = 1000;            // either end of a reply, where an overlap is not an interruption
  int turn_cap = 30000;           // a turn is ended by force
  int max_speculations = 3;       // of one turn
  int speculation_cap = 0;        // no speculation in turns longer than this; 0: no limit
};

// The one table of them: names for options of programs, and where they are.
struct TurnSetting {
  std::string_view name;
  int TurnTimers::* value;
  int most;
};
inline constexpr std::array<TurnSetting, 13> kTurnSettings = {{
    {"onset", &TurnTimers::onset, 2000},
    {"release", &TurnTimers::release, 5000},
    {"prefix", &TurnTimers::prefix, 5000},
    {"pause", &TurnTimers::pause, 60000},
    {"commit_complete", &TurnTimers::commit_complete, 60000},
    {"commit_plain", &TurnTimers::commit_plain, 60000},
    {"commit_incomplete", &TurnTimers::commit_incomplete, 60000},
    {"interruption", &TurnTimers::interruption, 60000},
    {"false_interruption", &TurnTimers::false_interruption, 60000},
    {"boundary", &TurnTimers::boundary, 60000},
    {"turn_cap", &TurnTimers::turn_cap, 600000},
    {"max_speculations", &TurnTimers::max_speculations, 1000},
    {"speculation_cap", &TurnTimers::speculation_cap, 600000},
}};

struct ManagedOptions {
  TurnTimers timers;
  double threshold = 0.5;  // of the probability of speech
  std::string vad;         // Silero VAD's graph (third_party/silero_vad); empty: $PARLEY_VAD
  // An end-of-turn model: the probability that a turn [n], at that rate, is complete. Asked once at
  // each pause, on the thread that steps.
  std::function<double(std::span<const float> turn, int hz)> end_of_turn;
};

// What a turn and its reply came to. Times are seconds on the session's timeline, on which what
// step n returns is heard in chunk n + 1; nothing: it did not happen.
struct TurnReport {
  using Time = std::optional<double>;
  int turn = 0;
  Time speech_start;
  Time speech_end;   // the user's last sound
  Time pause;        // the last speculation, or the wait, was begun
  Time commit;       // the reply was decided
  Time audio_ready;  // its first sound was made
  Time audio_out;    // and heard
  Time reply_end;    // its last sound was heard
  Time interrupted;  // where the speech began that ended the reply
  int calls_started = 0;
  int calls_cancelled = 0;
  int calls_failed = 0;
  bool speculative = false;        // the reply was begun before the turn was over
  std::int64_t wasted_tokens = 0;  // of cancelled calls
  double wasted_ms = 0;
  int false_interruptions = 0;   // the reply paused and went on
  double resume_gap_s = 0;       // in all
  bool false_endpoint = false;   // the user went on within half a second of the reply's begin
  bool missed_endpoint = false;  // the reply was decided more than 3 s after the user's last sound
  bool failed = false;           // no reply could be made

  // From the user's last sound to the reply's first.
  Time latency() const { return difference(audio_out, speech_end); }
  // From the speech that interrupted to the reply's last sound.
  Time interruption_latency() const { return difference(reply_end, interrupted); }

 private:
  static Time difference(const Time& later, const Time& earlier) {
    return later && earlier ? Time(*later - *earlier) : std::nullopt;
  }
};

class Managed {
 public:
  // Throws InputError for timers out of range, LibraryError or BundleError where the graph of
  // voice activity is not there or another.
  Managed(const Bundle& bundle, Session session, const ManagedOptions& options);
  Managed(Managed&&) noexcept;
  Managed& operator=(Managed&&) noexcept;
  ~Managed();

  // As Session's, on one timeline, with one difference: where a step throws anything but an
  // InputError, only reset() or close() may follow. Events of a reply come with its sound. What of
  // a reply was begun and not heard is never told.
  Step step(std::span<const float> in, std::span<float> out);
  void feed(std::span<const float> in, int hz = 0);
  std::optional<Step> next(std::span<float> out);
  void flush();
  std::size_t waiting() const;
  // Any thread: the reply under way stops with the next step.
  void interrupt(std::optional<std::int64_t> heard_until = std::nullopt);
  void cancel();  // any thread
  void reset();
  void close();

  // Called within a step, on its thread, where a reply falls silent: drops what earlier steps wrote
  // and nobody heard yet, and says which sample of the output timeline the loudspeaker has reached.
  // Without it all that the steps wrote is heard. Before the first step.
  void on_silence(std::function<std::int64_t()> drop);

  // Turns that came to their end since the last call.
  std::vector<TurnReport> take_turns();

  Mode mode() const;  // of the session
  Floor floor() const;
  std::int64_t position() const;
  std::size_t delay_samples() const;
  std::size_t input_delay_samples() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace parley
