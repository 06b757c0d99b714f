// The live loop between made devices on a virtual clock: rates, drifting clocks, late steps,
// interruptions, floods; no session and no thread.
#include "live/pump.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "check.h"
#include "count_allocations.h"

namespace {

using namespace parley;
using namespace parley::live;
using Kind = LiveEvent::Kind;

constexpr std::size_t kChunk = 3840;  // 24 kHz

// Says a tone of 400 Hz, and remembers what it heard.
class Script final : public Stepped {
 public:
  void feed(std::span<const float> in) override { fed.insert(fed.end(), in.begin(), in.end()); }
  std::optional<Step> next(std::span<float> out) override {
    if (fed.size() < kChunk) return std::nullopt;
    const auto end = fed.begin() + static_cast<std::ptrdiff_t>(kChunk);
    heard.insert(heard.end(), fed.begin(), end);
    fed.erase(fed.begin(), end);
    if (falls_silent) {
      falls_silent = speaks = false;
      interrupted_at = drop();
    }
    for (float& x : out) {
      seed = seed * 1664525U + 1013904223U;
      x = noise    ? 0.2F * static_cast<float>(static_cast<std::int32_t>(seed)) / 2147483648.0F
          : speaks ? 0.25F * static_cast<float>(std::sin(phase))
                   : 0.0F;
      phase += 2 * std::numbers::pi * 400 / 24000;
    }
    Step made;
    made.timing.total_ns = took_ns;
    made.index = steps++;
    return made;
  }
  void interrupt(std::int64_t heard_until) override { interrupted_at = heard_until; }
  void on_silence(std::function<std::int64_t()> dropped) override { drop = std::move(dropped); }
  std::vector<TurnReport> take_turns() override { return std::exchange(turns, {}); }

  std::vector<float> fed;
  std::vector<float> heard;
  double phase = 0;
  bool speaks = true;
  bool noise = false;
  bool falls_silent = false;  // by its own decision, with the next step
  std::function<std::int64_t()> drop;
  std::vector<TurnReport> turns;
  std::uint32_t seed = 1;
  std::int64_t took_ns = 1'000'000;
  std::int64_t steps = 0;
  std::int64_t interrupted_at = -1;
};

// Two devices, each by its own clock: blocks of 10 ms from one, of 1 ms to the other.
struct Devices {
  explicit Devices(LiveOptions options = {}, double render_ppm = 0)
      : options(options),
        pump(script, {}, options,
             [this](LiveEvent event) {
               if (event.kind != Kind::step) events.push_back(std::move(event));
             }),
        render_every(48 / (1 + render_ppm * 1e-6)) {}

  // In time of the capture device.
  void run(double seconds, bool turns = true) {
    const auto until = now + static_cast<std::int64_t>(seconds * 48000);
    for (; now < until; now += 480) {
      std::vector<float> block(480);
      for (float& x : block) x = source ? source(captured++) : 0.0F;
      pump.capture().push(block.data(), block.size());
      while (rendered_until + render_every <= static_cast<double>(now)) {
        pump.render().pull(block.data(), 48);
        if (keep) out.insert(out.end(), block.begin(), block.begin() + 48);
        rendered_until += render_every;
      }
      if (turns)
        while (pump.turn()) continue;
    }
  }
  int count(Kind kind) const {
    return static_cast<int>(
        std::count_if(events.begin(), events.end(), [&](const auto& e) { return e.kind == kind; }));
  }

  LiveOptions options;
  Script script;
  std::vector<LiveEvent> events;
  Pump pump;
  std::function<float(std::int64_t)> source;
  std::int64_t now = 0;
  std::int64_t captured = 0;
  double rendered_until = 0;
  double render_every;
  bool keep = true;
  std::vector<float> out;
};

LiveOptions plain() {
  LiveOptions options;
  options.cancel_echo = false;
  return options;
}

// The largest second difference of a tone of 400 Hz at a quarter of full scale, at 48 kHz: a click
// is larger.
constexpr float kCurve = 0.25F * 0.00275F;

float sharpest(const std::vector<float>& out, std::size_t from) {
  float most = 0;
  for (std::size_t i = from + 2; i < out.size(); ++i)
    most = std::max(most, std::abs(out[i] - 2 * out[i - 1] + out[i - 2]));
  return most;
}

TEST(a_tone_comes_out_whole_and_the_microphone_arrives) {
  Devices devices(plain());
  devices.source = [](std::int64_t i) {
    return 0.1F * static_cast<float>(
                      std::sin(2 * std::numbers::pi * 300 * static_cast<double>(i) / 48000));
  };
  devices.run(5);
  CHECK_EQ(devices.count(Kind::missing), 0);
  CHECK_EQ(devices.count(Kind::dropped), 0);
  CHECK(sharpest(devices.out, 48000) < 1.2F * kCurve);
  CHECK_EQ(devices.script.heard.size() % kChunk, 0u);
  double power = 0;
  for (std::size_t i = 24000; i < 48000; ++i)
    power += devices.script.heard[i] * devices.script.heard[i] / 24000.0;
  CHECK_NEAR(std::sqrt(2 * power), 0.1, check::tolerance("RESAMPLED_TONE_ABS"));
}

TEST(clocks_that_drift_leave_the_queues_where_they_were) {
  for (double ppm : {200.0, -200.0}) {
    Devices devices(plain(), ppm);
    devices.keep = false;
    devices.run(120);
    const double before = devices.pump.statistics().render_queue_s;
    devices.keep = true;
    devices.run(280);
    const LiveStatistics now = devices.pump.statistics();
    CHECK_EQ(devices.count(Kind::missing), 0);
    CHECK_EQ(devices.count(Kind::skipped), 0);
    CHECK_NEAR(now.render_queue_s, before, check::tolerance("LIVE_QUEUE_S"));
    CHECK_NEAR(now.clock_drift_ppm, -ppm, check::tolerance("LIVE_DRIFT_PPM"));
    CHECK(sharpest(devices.out, 2) < 1.2F * kCurve);
  }
}

TEST(the_played_sound_follows_the_microphones_clock) {
  Devices devices({}, 150);
  devices.keep = false;
  devices.run(60);
  CHECK_NEAR(devices.pump.statistics().clock_drift_ppm, 150, check::tolerance("LIVE_DRIFT_PPM"));
}

TEST(a_late_step_is_counted_and_the_talk_goes_on) {
  Devices devices(plain());
  devices.run(3);
  devices.run(0.4, false);
  devices.run(3);
  CHECK_EQ(devices.count(Kind::dropped), 0);
  CHECK(devices.count(Kind::missing) >= 1);
  const LiveStatistics now = devices.pump.statistics();
  CHECK_EQ(now.steps, 39);  // of 6.4 s, less the resampler's delay: nothing was lost
  CHECK(now.render_queue_s < 0.16 + devices.options.lead_s + 0.36);
  devices.script.speaks = false;  // a pause, and it is on time again
  devices.run(1);
  CHECK(devices.pump.statistics().render_queue_s < 0.16 + devices.options.lead_s + 0.06);
  devices.script.took_ns = 170'000'000;
  devices.run(0.4);
  CHECK(devices.count(Kind::late) >= 2);
}

TEST(after_a_standstill_of_both_devices_nobody_waits_for_old_sound) {
  Devices devices(plain());
  devices.script.speaks = false;
  devices.run(2);
  for (int i = 0; i < 150; ++i) {  // the microphone's backlog of 1.5 s comes at once
    const std::vector<float> block(480);
    devices.pump.capture().push(block.data(), block.size());
  }
  devices.run(3);
  CHECK(devices.count(Kind::skipped) >= 1);
  CHECK(devices.pump.statistics().render_queue_s < 0.16 + devices.options.lead_s + 0.2);
}

TEST(an_interruption_is_silence_at_once_and_the_session_hears_where) {
  Devices devices(plain());
  devices.run(2);
  devices.script.speaks = false;
  const std::size_t at = devices.out.size();
  devices.pump.interrupt();
  devices.run(0.5);
  // One block and the fade of 5 ms; what is not yet made is silent by the session's own doing.
  for (std::size_t i = at + 480 + 240; i < devices.out.size(); ++i)
    CHECK(std::abs(devices.out[i]) < 1.0F / 4096);
  CHECK(sharpest(devices.out, 48000) < 8 * kCurve);
  // What had come out by then, less the first chunk's time, the lead and the way to the
  // loudspeaker.
  const LiveOptions& options = devices.options;
  const double heard_s =
      static_cast<double>(at) / 48000 - 0.16 - options.lead_s - options.render_latency_s;
  CHECK_NEAR(static_cast<double>(devices.script.interrupted_at) / 24000, heard_s,
             check::tolerance("LIVE_QUEUE_S"));
  CHECK_EQ(devices.count(Kind::missing), 0);
}

TEST(what_falls_silent_by_itself_is_silent_at_once_and_hears_where) {
  Devices devices(plain());
  devices.run(2);
  devices.script.falls_silent = true;
  while (devices.script.falls_silent) devices.run(0.01);
  const std::size_t at = devices.out.size();
  devices.run(0.5);
  for (std::size_t i = at + 480 + 240; i < devices.out.size(); ++i)
    CHECK(std::abs(devices.out[i]) < 1.0F / 4096);
  const LiveOptions& options = devices.options;
  const double heard_s =
      static_cast<double>(at) / 48000 - 0.16 - options.lead_s - options.render_latency_s;
  CHECK_NEAR(static_cast<double>(devices.script.interrupted_at) / 24000, heard_s,
             check::tolerance("LIVE_QUEUE_S"));
  CHECK_EQ(devices.count(Kind::missing), 0);
}

TEST(reports_of_turns_come_as_events) {
  Devices devices(plain());
  devices.script.turns.resize(2);
  devices.script.turns[1].turn = 7;
  devices.run(1);
  CHECK_EQ(devices.count(Kind::turn), 2);
  for (const LiveEvent& event : devices.events)
    if (event.kind == Kind::turn && event.turn.turn != 0) CHECK_EQ(event.turn.turn, 7);
}

TEST(a_flood_is_bounded_and_told) {
  Devices devices(plain());
  devices.run(1);
  const std::vector<float> flood(480000, 0.1F);
  devices.pump.capture().push(flood.data(), flood.size());
  devices.run(1);
  CHECK_EQ(devices.count(Kind::dropped), 1);
  const LiveStatistics now = devices.pump.statistics();
  CHECK(now.dropped > 300000);
  CHECK(now.capture_queue_s < 0.1);
}

TEST(a_microphone_of_zeros_is_told_once) {
  Devices devices(plain());
  devices.run(12);
  CHECK_EQ(devices.count(Kind::silent_microphone), 1);
}

TEST(a_muted_microphone_is_silence_for_the_session) {
  Devices devices(plain());
  devices.source = [](std::int64_t) { return 0.5F; };
  devices.pump.mute(true);
  devices.run(2);
  CHECK(std::all_of(devices.script.heard.begin(), devices.script.heard.end(),
                    [](float x) { return x == 0; }));
}

TEST(formats_of_devices) {
  CaptureSide capture({48000, 2, SampleFormat::s16}, 0.1);
  const std::int16_t frames[] = {16384, -16384, -32768, 5};
  capture.push(frames, 2);
  float got[2];
  CHECK_EQ(capture.queue().read(got), 2u);
  CHECK_EQ(got[0], 0.5F);
  CHECK_EQ(got[1], -1.0F);
  const float bad[] = {NAN, 0.0F, INFINITY, 0.0F};
  CaptureSide floats({48000, 2, SampleFormat::f32}, 0.1);
  floats.push(bad, 2);
  CHECK_EQ(floats.queue().read(got), 2u);
  CHECK_EQ(got[0], 0.0F);
  RenderSide render({48000, 2, SampleFormat::s16}, 0.1);
  const float loud[] = {2.0F, -0.5F};
  render.queue().write(loud);
  std::int16_t out[6];
  render.pull(out, 3);
  CHECK_EQ(out[0], 32767);
  CHECK_EQ(out[1], 32767);
  CHECK_EQ(out[2], -16384);
  CHECK_EQ(out[4], 0);
  CHECK_EQ(render.missing(), 1);
}

TEST(the_echo_of_what_is_said_is_not_heard) {
  Devices devices({}, 100);
  devices.script.noise = true;
  devices.source = [&](std::int64_t i) {  // 60 ms later, half as loud, by the microphone's clock
    const auto at = static_cast<std::int64_t>(static_cast<double>(i) * 1.0001) - 2880;
    const auto& out = devices.out;
    if (at < 0 || at >= static_cast<std::int64_t>(out.size())) return 0.0F;
    return 0.5F * out[static_cast<std::size_t>(at)];
  };
  devices.run(20);
  CHECK_EQ(devices.count(Kind::echo_found), 1);
  const LiveStatistics now = devices.pump.statistics();
  CHECK(now.echo_found);
  CHECK(now.erle_db > check::tolerance("ECHO_ERLE_DB") - 6);
}

TEST(callbacks_allocate_nothing) {
  CaptureSide capture({48000, 1, SampleFormat::f32}, 1);
  RenderSide render({48000, 2, SampleFormat::s16}, 1);
  std::vector<float> in(480);
  std::vector<std::int16_t> out(960);
  CHECK_EQ(check::allocations([&] {
             for (int i = 0; i < 1000; ++i) {
               capture.push(in.data(), in.size());
               render.pull(out.data(), 480);
               if (i % 100 == 0) render.flush();
             }
           }),
           0);
}

}  // namespace
