// The thread that steps, the queue of events between it and whoever listens.
#include "parley/live.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "live/pump.h"

namespace parley {

namespace {

using namespace live;

constexpr std::size_t kMaxEvents = 4096;
// Callbacks may not wake anybody, so the thread looks by itself.
constexpr auto kNap = std::chrono::milliseconds(2);

// A session or managed turns.
class Talk : public Stepped {
 public:
  virtual void cancel() = 0;
};

template <typename T>
class TalkOf : public Talk {
 public:
  explicit TalkOf(T talk) : talk_(std::move(talk)) {}
  void feed(std::span<const float> in) override { talk_.feed(in); }
  std::optional<Step> next(std::span<float> out) override { return talk_.next(out); }
  void interrupt(std::int64_t heard_until) override { talk_.interrupt(heard_until); }
  void cancel() override { talk_.cancel(); }

 protected:
  T talk_;
};

class ManagedTalk final : public TalkOf<Managed> {
 public:
  using TalkOf::TalkOf;
  void on_silence(std::function<std::int64_t()> drop) override {
    talk_.on_silence(std::move(drop));
  }
  std::vector<TurnReport> take_turns() override { return talk_.take_turns(); }
};

void check(const LiveOptions& options) {
  const auto rate = [](int hz) { return hz >= 8000 && hz <= 384000 && hz % 100 == 0; };
  const auto channels = [](int n) { return n >= 1 && n <= 64; };
  if (!rate(options.capture_hz) || !rate(options.render_hz)) {
    throw InputError("[live.open] expected rates from 8000 to 384000 Hz, multiples of 100, got " +
                     std::to_string(options.capture_hz) + " and " +
                     std::to_string(options.render_hz) + "; open the devices at 48000");
  }
  if (!channels(options.capture_channels) || !channels(options.render_channels)) {
    throw InputError("[live.open] expected 1 to 64 channels, got " +
                     std::to_string(options.capture_channels) + " and " +
                     std::to_string(options.render_channels) + "; open the devices with one");
  }
  const bool times = options.lead_s >= 0 && options.lead_s <= 1 && options.queue_s >= 0.5 &&
                     options.queue_s <= 60 && options.render_latency_s >= 0 &&
                     options.render_latency_s <= 2;
  if (!times) {
    throw InputError(
        "[live.open] expected lead_s from 0 to 1, queue_s from 0.5 to 60 and "
        "render_latency_s from 0 to 2, got " +
        std::to_string(options.lead_s) + ", " + std::to_string(options.queue_s) + " and " +
        std::to_string(options.render_latency_s) + "; correct them");
  }
}

}  // namespace

class Live::Impl {
 public:
  Impl(const Bundle& bundle, std::unique_ptr<Talk> talk, const LiveOptions& options)
      : chunk_(bundle.out_chunk_samples()),
        talk_(std::move(talk)),
        pump_(*talk_,
              {bundle.input_hz(), bundle.output_hz(), bundle.chunk_samples(),
               bundle.out_chunk_samples()},
              options, [this](LiveEvent event) { tell(std::move(event)); }) {}
  ~Impl() { stop(); }

  void capture(const void* frames, std::size_t n) noexcept {
    if (open_.load(std::memory_order_acquire)) pump_.capture().push(frames, n);
  }
  void render(void* frames, std::size_t n) noexcept { pump_.render().pull(frames, n); }
  void record(Pump::Tap tap) { pump_.record(std::move(tap)); }

  void start() {
    const std::lock_guard<std::mutex> lock(control_);
    if (thread_.joinable() || stopped_) return;
    open_ = running_ = true;
    thread_ = std::thread([this] { run(); });
  }

  void stop() {
    const std::lock_guard<std::mutex> lock(control_);
    open_ = false;
    if (!std::exchange(stopped_, true)) talk_->cancel();
    if (thread_.joinable()) thread_.join();
    finish();
  }

  bool turn() {
    open_ = true;
    const bool stepped = pump_.turn();
    keep_statistics();
    return stepped;
  }

  std::optional<LiveEvent> wait(double seconds) {
    std::unique_lock<std::mutex> lock(events_lock_);
    const auto there = [this] { return !events_.empty() || over_; };
    if (!there()) event_came_.wait_for(lock, std::chrono::duration<double>(seconds), there);
    if (events_.empty()) return std::nullopt;
    LiveEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

  void interrupt() { pump_.interrupt(); }
  void mute(bool on) { pump_.mute(on); }
  bool running() const { return running_; }
  void tell_device(bool input, bool found, const std::string& name) {
    LiveEvent event{.kind = found ? LiveEvent::Kind::device_found : LiveEvent::Kind::device_lost};
    event.count = input ? 0 : 1;
    event.sample = statistics().steps * static_cast<std::int64_t>(chunk_);
    event.text = name;
    tell(std::move(event));
  }
  LiveStatistics statistics() const {
    const std::lock_guard<std::mutex> lock(events_lock_);
    LiveStatistics now = statistics_;
    now.events_lost = events_lost_;
    return now;
  }

 private:
  void run() {
    try {
      while (!stopping()) {
        const bool stepped = pump_.turn();
        keep_statistics();
        if (!stepped) std::this_thread::sleep_for(kNap);
      }
    } catch (const CancelledError&) {
      // stop() ended the step under way
    } catch (const std::exception& error) {
      LiveEvent event{.kind = LiveEvent::Kind::failed};
      event.text = error.what();
      tell(std::move(event));
    }
    open_ = false;
    pump_.render().flush();
    finish();
  }

  bool stopping() const { return !open_.load(std::memory_order_acquire); }

  void finish() {
    const std::lock_guard<std::mutex> lock(events_lock_);
    running_ = false;
    over_ = true;
    event_came_.notify_all();
  }

  // Bounded: whoever does not listen loses the oldest, and is told how many.
  void tell(LiveEvent event) {
    const std::lock_guard<std::mutex> lock(events_lock_);
    if (events_.size() == kMaxEvents) {
      events_.pop_front();
      ++events_lost_;
    }
    events_.push_back(std::move(event));
    event_came_.notify_one();
  }

  void keep_statistics() {
    const LiveStatistics now = pump_.statistics();
    const std::lock_guard<std::mutex> lock(events_lock_);
    statistics_ = now;
  }

  std::size_t chunk_;
  std::unique_ptr<Talk> talk_;
  Pump pump_;
  std::mutex control_;  // start and stop
  bool stopped_ = false;
  std::atomic<bool> open_{false};
  std::atomic<bool> running_{false};
  mutable std::mutex events_lock_;
  std::condition_variable event_came_;
  std::deque<LiveEvent> events_;
  std::int64_t events_lost_ = 0;
  bool over_ = false;
  LiveStatistics statistics_;
  std::thread thread_;
};

Live::Live(const Bundle& bundle, Session&& session, const LiveOptions& options) {
  check(options);  // first: the session is taken over then
  auto talk = std::make_unique<TalkOf<Session>>(std::move(session));
  impl_ = std::make_unique<Impl>(bundle, std::move(talk), options);
}
Live::Live(const Bundle& bundle, Managed&& managed, const LiveOptions& options) {
  check(options);
  auto talk = std::make_unique<ManagedTalk>(std::move(managed));
  impl_ = std::make_unique<Impl>(bundle, std::move(talk), options);
}
Live::~Live() = default;
void Live::capture(const void* frames, std::size_t n_frames) noexcept {
  impl_->capture(frames, n_frames);
}
void Live::render(void* frames, std::size_t n_frames) noexcept {
  impl_->render(frames, n_frames);
}
void Live::record(std::function<void(LiveTap, std::span<const float>)> tap) {
  impl_->record(std::move(tap));
}
void Live::start() {
  impl_->start();
}
void Live::stop() {
  impl_->stop();
}
bool Live::turn() {
  return impl_->turn();
}
std::optional<LiveEvent> Live::wait(double seconds) {
  return impl_->wait(seconds);
}
void Live::interrupt() {
  impl_->interrupt();
}
void Live::mute(bool on) noexcept {
  impl_->mute(on);
}
LiveStatistics Live::statistics() const {
  return impl_->statistics();
}
void Live::tell_device(bool input, bool found, const std::string& name) {
  impl_->tell_device(input, found, name);
}
bool Live::running() const {
  return impl_->running();
}

}  // namespace parley
