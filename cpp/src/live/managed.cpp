// The public face of managed turns: options become a driver, callers are let in one at a time.
#include "parley/managed.hpp"

#include <cmath>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>

#include "bundle/bundle.h"
#include "live/turn_driver.h"
#include "session/intake.h"

namespace parley {

namespace {

using namespace live;

void check(const ManagedOptions& options) {
  for (const TurnSetting& setting : kTurnSettings) {
    const int value = options.timers.*setting.value;
    if (value >= 0 && value <= setting.most) continue;
    throw InputError("[managed.open] expected timer " + std::string(setting.name) + " from 0 to " +
                     std::to_string(setting.most) + ", got " + std::to_string(value) +
                     "; pass milliseconds in range");
  }
  if (!(options.threshold > 0.0 && options.threshold < 1.0)) {
    throw InputError("[managed.open] expected a threshold between 0 and 1, got " +
                     std::to_string(options.threshold) + "; 0.5 is usual");
  }
}

std::string vad_path(const std::string& asked) {
  const char* variable = std::getenv("PARLEY_VAD");
  const std::string path = !asked.empty() || variable == nullptr ? asked : variable;
  if (!path.empty() && std::filesystem::is_regular_file(path)) return path;
  throw LibraryError("[managed.open] expected the graph that hears whether somebody speaks, got " +
                     (path.empty() ? "none" : "no file " + path) +
                     "; set PARLEY_VAD, or ManagedOptions::vad, to parley's "
                     "third_party/silero_vad/silero_vad.onnx");
}

}  // namespace

class Managed::Impl {
 public:
  Impl(const Bundle& bundle, Session session, const ManagedOptions& options)
      : intake_(bundle.input_hz(), bundle.chunk_samples()),
        chunk_(bundle.chunk_samples()),
        out_chunk_(bundle.out_chunk_samples()),
        mode_(session.mode()),
        input_delay_(session.input_delay_samples()),
        delay_(session.delay_samples()),
        driver_({std::move(session), activity(bundle, options), options.timers, options.end_of_turn,
                 std::make_shared<SteadyClock>(), bundle.input_hz(), bundle.chunk_samples(),
                 bundle.out_chunk_samples()}) {}

  Step step(std::span<const float> in, std::span<float> out) {
    const auto lock = enter("step");
    check_sizes("step", in.size(), out.size());
    if (!intake_.empty()) {
      throw InputError("[managed.step] expected no samples left over from feed(), got " +
                       std::to_string(intake_.waiting()) +
                       "; flush() and take the steps of next() first, or use feed() throughout");
    }
    check_finite("step", in);
    return driver_.step(in, out);
  }
  void feed(std::span<const float> in, int hz) {
    const auto lock = enter("feed");
    check_finite("feed", in);
    intake_.add(in, hz == 0 ? intake_hz() : hz);
  }
  std::optional<Step> next(std::span<float> out) {
    const auto lock = enter("next");
    check_sizes("next", chunk_, out.size());
    if (!intake_.has_chunk()) return std::nullopt;
    const Step step = driver_.step(intake_.chunk(), out);
    intake_.take();
    return step;
  }
  void flush() {
    const auto lock = enter("flush");
    intake_.fill();
  }
  void reset() {
    const auto lock = enter("reset");
    intake_.clear();
    driver_.reset();
  }
  void close() {
    if (closed_.exchange(true)) return;
    driver_.cancel();
    const std::lock_guard<std::mutex> lock(mutex_);
    driver_.close();
  }
  std::vector<TurnReport> take_turns() {
    const auto lock = enter("take_turns");
    return driver_.take_turns();
  }

  TurnDriver& driver() { return driver_; }
  std::size_t waiting() const { return intake_.waiting(); }
  Mode mode() const { return mode_; }
  Floor floor() const { return closed_ ? Floor::closed : driver_.floor(); }
  std::int64_t position() const { return closed_ ? 0 : driver_.position(); }
  // Sound of a managed reply lies where its events do.
  std::size_t delay_samples() const { return mode_ == Mode::turns ? 0 : delay_; }
  std::size_t input_delay_samples() const { return input_delay_; }

 private:
  static VoiceActivity activity(const Bundle& bundle, const ManagedOptions& options) {
    check(options);
    return VoiceActivity(
        make_silero_scorer(Bundle::Impl::of(bundle)->beside(vad_path(options.vad))),
        {options.threshold, options.timers.onset, options.timers.release}, bundle.input_hz());
  }
  std::unique_lock<std::mutex> enter(const char* verb) {
    std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    const std::string where = std::string("[managed.") + verb + "] ";
    if (!lock.owns_lock()) {
      throw InputError(where +
                       "expected one caller at a time, got a second one; call it from one thread "
                       "(interrupt(), cancel() and close() from any)");
    }
    if (closed_) {
      throw ClosedError(where + "expected an open conversation, got a closed one; make a new one");
    }
    return lock;
  }
  void check_sizes(const char* verb, std::size_t in, std::size_t out) const {
    if (in == chunk_ && out == out_chunk_) return;
    throw InputError(std::string("[managed.") + verb + "] expected " + std::to_string(chunk_) +
                     " samples in and " + std::to_string(out_chunk_) + " out, got " +
                     std::to_string(in) + " and " + std::to_string(out) +
                     "; pass whole chunks, or feed() others");
  }
  static void check_finite(const char* verb, std::span<const float> in) {
    for (std::size_t i = 0; i < in.size(); ++i) {
      if (std::isfinite(in[i])) continue;
      throw InputError(std::string("[managed.") + verb + "] expected finite samples, got " +
                       std::to_string(in[i]) + " at sample " + std::to_string(i) +
                       "; mend the source or pass silence");
    }
  }
  int intake_hz() const { return intake_.hz(); }

  Intake intake_;
  std::size_t chunk_;
  std::size_t out_chunk_;
  Mode mode_;
  std::size_t input_delay_;
  std::size_t delay_;
  TurnDriver driver_;
  std::atomic<bool> closed_{false};
  std::mutex mutex_;  // held by the one caller; others are told, not queued
};

Managed::Managed(const Bundle& bundle, Session session, const ManagedOptions& options)
    : impl_(std::make_unique<Impl>(bundle, std::move(session), options)) {}
Managed::Managed(Managed&&) noexcept = default;
Managed& Managed::operator=(Managed&&) noexcept = default;
Managed::~Managed() = default;
Step Managed::step(std::span<const float> in, std::span<float> out) {
  return impl_->step(in, out);
}
void Managed::feed(std::span<const float> in, int hz) {
  impl_->feed(in, hz);
}
std::optional<Step> Managed::next(std::span<float> out) {
  return impl_->next(out);
}
void Managed::flush() {
  impl_->flush();
}
std::size_t Managed::waiting() const {
  return impl_->waiting();
}
void Managed::interrupt(std::optional<std::int64_t> heard_until) {
  impl_->driver().interrupt(heard_until);
}
void Managed::cancel() {
  impl_->driver().cancel();
}
void Managed::reset() {
  impl_->reset();
}
void Managed::close() {
  impl_->close();
}
void Managed::on_silence(std::function<std::int64_t()> drop) {
  impl_->driver().on_silence(std::move(drop));
}
std::vector<TurnReport> Managed::take_turns() {
  return impl_->take_turns();
}
Mode Managed::mode() const {
  return impl_->mode();
}
Floor Managed::floor() const {
  return impl_->floor();
}
std::int64_t Managed::position() const {
  return impl_->position();
}
std::size_t Managed::delay_samples() const {
  return impl_->delay_samples();
}
std::size_t Managed::input_delay_samples() const {
  return impl_->input_delay_samples();
}

}  // namespace parley
