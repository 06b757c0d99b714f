// Live conversations of the C face.
#include "handles.h"

using parley::c::give;
using parley::c::given;
using parley::c::guarded;

namespace {

constexpr double kMostSeconds = 86400;

parley::LiveOptions live_options_of(const parley_live_options* from) {
  const auto options = parley::c::options_of("live.new", from);
  if (options.format != PARLEY_F32 && options.format != PARLEY_S16) {
    parley::c::refuse("live.new", "expected a format of 0 or 1, got " +
                                      std::to_string(options.format) + "; take one of them");
  }
  parley::LiveOptions to;
  if (options.capture_hz != 0) to.capture_hz = options.capture_hz;
  if (options.render_hz != 0) to.render_hz = options.render_hz;
  if (options.capture_channels != 0) to.capture_channels = options.capture_channels;
  if (options.render_channels != 0) to.render_channels = options.render_channels;
  if (options.format == PARLEY_S16) to.samples = parley::SampleFormat::s16;
  to.cancel_echo = options.keep_echo == 0;
  if (options.lead_s != 0) to.lead_s = options.lead_s;
  if (options.queue_s != 0) to.queue_s = options.queue_s;
  if (options.render_latency_s != 0) to.render_latency_s = options.render_latency_s;
  return to;
}

parley_live_event event_of(const parley::LiveEvent& event) {
  parley_live_event to{};
  to.kind = static_cast<std::int32_t>(event.kind);
  to.floor = static_cast<std::int32_t>(event.floor);
  to.stage = static_cast<std::int32_t>(event.stage);
  to.sample = event.sample;
  to.count = event.count;
  to.lag_s = event.lag_s;
  to.total_ns = event.timing.total_ns;
  to.text = event.text.c_str();
  parley::Event whole = event.event;
  whole.text = event.text;
  whole.codes = event.codes;
  to.event = parley::c::event_of(whole, event.text.c_str());
  to.event.size = sizeof to.event;
  return to;
}

parley_live_statistics statistics_of(const parley::LiveStatistics& from) {
  parley_live_statistics to{};
  to.steps = from.steps;
  to.late = from.late;
  to.missing = from.missing;
  to.dropped = from.dropped;
  to.skipped = from.skipped;
  to.events_lost = from.events_lost;
  to.heard_sample = from.heard_sample;
  to.capture_level = from.capture_level;
  to.render_level = from.render_level;
  to.capture_queue_s = from.capture_queue_s;
  to.render_queue_s = from.render_queue_s;
  to.clock_drift_ppm = from.clock_drift_ppm;
  to.erle_db = from.erle_db;
  to.echo_delay_s = from.echo_delay_s;
  to.echo_found = from.echo_found ? 1 : 0;
  return to;
}

template <typename Work>
std::int32_t with_live(const char* verb, parley_live* live, const Work& work) {
  return guarded([&] { work(given(verb, "a live conversation", live)); });
}

}  // namespace

static_assert(PARLEY_LIVE_FAILED == static_cast<int>(parley::LiveEvent::Kind::failed));

extern "C" {

int32_t parley_live_new(const parley_bundle* bundle, parley_session* session,
                        const parley_live_options* options, parley_live** live) {
  return guarded([&] {
    auto& to = given("live.new", "a place for the live conversation", live);
    to = nullptr;
    auto& own = given("live.new", "a session", session).session;
    if (!own) {
      throw parley::ClosedError(
          "[live.new] expected a session of one's own, got one that another live conversation took"
          " over; make a new session");
    }
    const auto& from = given("live.new", "a bundle", bundle).bundle;
    const parley::LiveOptions checked = live_options_of(options);
    to = new parley_live(from, std::move(*own), checked);
    own.reset();
  });
}

void parley_live_free(parley_live* live) {
  delete live;
}

int32_t parley_live_start(parley_live* live) {
  return with_live("live.start", live, [](parley_live& own) { own.live.start(); });
}

int32_t parley_live_stop(parley_live* live) {
  return with_live("live.stop", live, [](parley_live& own) {
    own.live.stop();
    own.over = true;
  });
}

void parley_live_capture(parley_live* live, const void* frames, size_t n) {
  if (live != nullptr) live->live.capture(frames, n);
}

void parley_live_render(parley_live* live, void* frames, size_t n) {
  if (live != nullptr) live->live.render(frames, n);
}

int32_t parley_live_turn(parley_live* live, int32_t* stepped) {
  return with_live("live.turn", live, [&](parley_live& own) {
    const bool made = own.live.turn();
    if (stepped != nullptr) *stepped = made ? 1 : 0;
  });
}

int32_t parley_live_wait(parley_live* live, double seconds, parley_live_event* event) {
  return with_live("live.wait", live, [&](parley_live& own) {
    if (!(seconds >= 0 && seconds <= kMostSeconds)) {
      parley::c::refuse("live.wait", "expected 0 to 86400 seconds, got " + std::to_string(seconds) +
                                         "; call again for more");
    }
    given("live.wait", "an event", event);
    auto came = own.live.wait(seconds);
    if (!came && own.over) {
      throw parley::ClosedError(
          "[live.wait] expected a conversation that goes on, got one that is over; make a new one");
    }
    own.event = came ? std::move(*came) : parley::LiveEvent{};
    if (own.event.kind == parley::LiveEvent::Kind::failed) own.over = true;
    parley_live_event to = event_of(own.event);
    if (!came) to.kind = -1;
    give("live.wait", to, event);
  });
}

int32_t parley_live_interrupt(parley_live* live) {
  return with_live("live.interrupt", live, [](parley_live& own) { own.live.interrupt(); });
}

int32_t parley_live_mute(parley_live* live, int32_t on) {
  return with_live("live.mute", live, [&](parley_live& own) { own.live.mute(on != 0); });
}

int32_t parley_live_get_statistics(const parley_live* live, parley_live_statistics* statistics) {
  return guarded([&] {
    const parley::Live& from = given("live.statistics", "a live conversation", live).live;
    parley_live_statistics to = statistics_of(from.statistics());
    to.running = from.running() ? 1 : 0;
    give("live.statistics", to, statistics);
  });
}

}  // extern "C"
