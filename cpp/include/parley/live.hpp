// A conversation through a microphone and a loudspeaker: callbacks give and take samples of any
// block size and rate, a thread of its own steps the session, events tell what happened.
//
//   parley::Live live(bundle, bundle.session({}), {});
//   live.start();
//   // the device's callbacks, at 48 kHz:
//   live.capture(microphone, n);
//   live.render(loudspeaker, n);
//   // any other thread:
//   while (auto event = live.wait(0.1)) show(*event);
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parley/managed.hpp"
#include "parley/parley.hpp"

namespace parley {

enum class SampleFormat : std::uint8_t { f32, s16 };

struct LiveOptions {
  int capture_hz = 48000;  // of the devices, each its own
  int render_hz = 48000;
  int capture_channels = 1;  // interleaved; the first one is heard
  int render_channels = 1;
  SampleFormat samples = SampleFormat::f32;  // of both
  bool cancel_echo = true;                   // not with headphones or where the device does it
  // Seconds of sound that wait beside a chunk, so that a late step is not heard. More is later.
  double lead_s = 0.06;
  double queue_s = 2.0;            // bound of each queue; what exceeds it is dropped and told
  double render_latency_s = 0.03;  // from the callback to the loudspeaker, where the device says it
};

struct LiveEvent {
  enum class Kind : std::uint8_t {
    session,            // an event of the session: `event`, what it refers to in `text`, `codes`
    step,               // a step was made: `timing`, `floor`, `lag_s`
    late,               // it took longer than the chunk that it is about; `stage` took most of it
    missing,            // `count` samples of silence were heard in place of sound, at `render_hz`
    dropped,            // `count` samples of the microphone did not fit, at `capture_hz`
    skipped,            // `count` samples of sound were left out to catch up, at `render_hz`
    silent_microphone,  // nothing but zeros for five seconds: muted, or no permission
    echo_found,         // the loudspeaker's sound was found in the microphone, `lag_s` late
    device_lost,        // `text` went away; silence stands in for it; `count` 0: the microphone
    device_found,       // `text` is there (again)
    failed,             // a step threw: `text`; the conversation is over
    turn,               // of managed turns, or observed: one came to its end, `turn`
  };
  Kind kind = Kind::step;
  std::int64_t sample = 0;  // place on the session's output timeline
  std::int64_t count = 0;
  Event event = {};
  std::string text = {};
  std::vector<std::int32_t> codes = {};
  Timing timing = {};
  Floor floor = Floor::listening;
  Stage stage = Stage::front_end;
  TurnReport turn = {};
  double lag_s = 0;  // step: from the microphone's last sample to the loudspeaker's first
};

constexpr std::string_view name(LiveEvent::Kind kind) {
  constexpr std::array<std::string_view, 12> kNames = {
      "session",           "step",       "late",        "missing",      "dropped", "skipped",
      "silent_microphone", "echo_found", "device_lost", "device_found", "failed",  "turn"};
  return kNames[static_cast<std::size_t>(kind)];
}

struct LiveStatistics {
  std::int64_t steps = 0;
  std::int64_t late = 0;
  std::int64_t missing = 0;  // as in the events, sums
  std::int64_t dropped = 0;
  std::int64_t skipped = 0;
  std::int64_t events_lost = 0;  // nobody took them
  double capture_level = 0;      // root mean square of the last chunk, after cancellation
  double render_level = 0;
  double capture_queue_s = 0;  // what waits
  double render_queue_s = 0;
  double clock_drift_ppm = 0;  // the render device's clock against the capture device's
  bool echo_found = false;
  double erle_db = 0;  // echo return loss enhancement
  double echo_delay_s = 0;
  std::int64_t heard_sample = 0;  // the loudspeaker has reached it, on the session's timeline
};

// What can be recorded of a conversation, in the order in which it happens.
enum class LiveTap : std::uint8_t {
  microphone,  // as it came, at the session's input rate
  heard,       // without echo: what the session got
  said,        // what the session gave, at its output rate
};

class Live {
 public:
  // Throws InputError for rates, channels or times that cannot be; what is talked with stays the
  // caller's then.
  Live(const Bundle& bundle, Session&& session, const LiveOptions& options);
  Live(const Bundle& bundle, Managed&& talk, const LiveOptions& options);
  ~Live();
  Live(const Live&) = delete;
  Live& operator=(const Live&) = delete;

  // Audio callbacks: no lock, no allocation, no system call. One thread each; before start() and
  // after stop() what comes is dropped and silence goes out.
  void capture(const void* frames, std::size_t n_frames) noexcept;
  void render(void* frames, std::size_t n_frames) noexcept;

  // Called with what is recorded, on the thread that steps. Before start().
  void record(std::function<void(LiveTap, std::span<const float>)> tap);
  void start();
  // Ends the thread; what is queued is not heard. Idempotent.
  void stop();
  // Without a thread: does what there is to do now and says whether there was a step. Instead of
  // start(), for programs with a loop of their own and for tests.
  bool turn();

  // The next event, waiting at most so long for it; nothing: none came, or all is over.
  std::optional<LiveEvent> wait(double seconds);
  // Any thread: silence now; the history keeps what was heard.
  void interrupt();
  // Any thread: the session hears silence in place of the microphone.
  void mute(bool on) noexcept;
  // For whoever runs the devices: one went away or came; told to those who listen.
  void tell_device(bool input, bool found, const std::string& name);
  LiveStatistics statistics() const;
  bool running() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace parley
