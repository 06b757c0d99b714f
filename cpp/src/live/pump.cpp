// Queues, rates and clocks around the one step.
#include "live/pump.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace parley::live {

namespace {

constexpr double kFarLevel = 0.03;  // s of played sound that wait for the microphone's clock
constexpr double kJump = 0.25;      // s by which that queue is wrong and not just uneven
constexpr double kSlack = 0.05;     // s of sound beyond the aim; a pause is left out to get there
constexpr double kTooMuch = 0.36;   // the same, where sound itself is left out
constexpr double kHush = 0.03;      // s
constexpr double kSilent = 5.0;     // s of zeros
constexpr std::size_t kMarks = 64;
constexpr float kQuiet = 1e-4F;

double root_mean_square(std::span<const float> samples) {
  double sum = 0;
  for (float x : samples) sum += static_cast<double>(x) * x;
  return std::sqrt(sum / static_cast<double>(std::max<std::size_t>(1, samples.size())));
}

bool is_quiet(std::span<const float> samples) {
  return std::all_of(samples.begin(), samples.end(), [](float x) { return std::abs(x) < kQuiet; });
}

}  // namespace

Pump::Pump(Stepped& stepped, const PumpRates& rates, const LiveOptions& options, Tell tell)
    : stepped_(stepped),
      rates_(rates),
      options_(options),
      tell_(std::move(tell)),
      capture_({options.capture_hz, options.capture_channels, options.samples}, options.queue_s),
      render_({options.render_hz, options.render_channels, options.samples}, options.queue_s),
      block_(static_cast<std::size_t>(rates.input_hz) / 100),
      capture_resampler_(options.capture_hz, rates.input_hz),
      far_resampler_(options.render_hz, rates.input_hz),
      render_resampler_(rates.output_hz, options.render_hz),
      piece_(static_cast<std::size_t>(std::max(options.capture_hz, options.render_hz)) / 100),
      resampled_(std::max({capture_resampler_.max_output(piece_.size()),
                           far_resampler_.max_output(piece_.size()),
                           render_resampler_.max_output(rates.out_chunk_samples)})),
      far_block_(block_),
      cleaned_(block_),
      far_(static_cast<std::size_t>(rates.input_hz)),
      silence_(block_),
      out_(rates.out_chunk_samples),
      sound_(static_cast<std::size_t>(options.render_hz)),
      render_loop_(static_cast<double>(rates.input_hz) / static_cast<double>(rates.chunk_samples)),
      fitted_(resampled_.size() * 2) {
  if (options.cancel_echo) echo_.emplace(rates.input_hz);
  near_.reserve(resampled_.size() + 2 * block_);
  stepped_.on_silence([this] { return drop_sound(); });
}

bool Pump::turn() {
  if (const std::int64_t place = interrupted_.exchange(-1); place >= 0) {
    stepped_.interrupt(heard_sample(place));
    forget_sound();
  }
  std::optional<Step> step;
  while (!(step = stepped_.next(out_))) {
    take_far();
    if (near_.size() < block_ && !take_in()) {
      tell_changes();
      return false;
    }
    if (near_.size() >= block_) take_block();
  }
  after(*step);
  tell_changes();
  return true;
}

// Ten milliseconds of the device, or what there is of them.
bool Pump::take_in() {
  const std::size_t n = capture_.queue().read(
      std::span(piece_).first(static_cast<std::size_t>(options_.capture_hz) / 100));
  if (n == 0) return false;
  watch_zeros(std::span(piece_).first(n));
  const std::size_t made = capture_resampler_.push(std::span(piece_).first(n), resampled_);
  near_.insert(near_.end(), resampled_.begin(),
               resampled_.begin() + static_cast<std::ptrdiff_t>(made));
  return true;
}

// What the loudspeaker got since, at the session's rate.
void Pump::take_far() {
  const std::size_t most = static_cast<std::size_t>(options_.render_hz) / 100;
  while (const std::size_t n = render_.played().read(std::span(piece_).first(most))) {
    if (!echo_) continue;
    const std::size_t made = far_resampler_.push(std::span(piece_).first(n), resampled_);
    far_.push(std::span(resampled_).first(made));
  }
}

void Pump::take_block() {
  const std::span<const float> microphone(near_.data(), block_);
  if (tap_) tap_(LiveTap::microphone, microphone);
  if (echo_) {
    const double hz = rates_.input_hz;
    const double end = static_cast<double>(far_.end());
    const double surplus = (end - far_place_) / hz - kFarLevel;
    if (!far_runs_ || std::abs(surplus) > kJump) {  // the first block, or a device that stood still
      far_runs_ = far_.end() > 0;
      far_place_ = end - kFarLevel * hz;
      far_loop_.disturb();
    } else {
      speed_ = far_loop_.update(surplus);
    }
    far_.read(far_place_, speed_, far_block_);
    far_place_ += speed_ * static_cast<double>(block_);
    echo_->run(microphone, far_block_, cleaned_);
    listen(cleaned_);
  } else {
    listen(microphone);
  }
  near_.erase(near_.begin(), near_.begin() + static_cast<std::ptrdiff_t>(block_));
}

void Pump::listen(std::span<const float> block) {
  if (muted_.load(std::memory_order_relaxed)) block = silence_;
  stepped_.feed(block);
  if (tap_) heard_.insert(heard_.end(), block.begin(), block.end());
  for (float x : block) heard_power_ += static_cast<double>(x) * x;
}

// What a step gave goes to the loudspeaker and to whoever listens for events.
void Pump::after(const Step& step) {
  const std::size_t chunk = rates_.chunk_samples;
  if (tap_) {
    tap_(LiveTap::heard, std::span(heard_).first(chunk));
    tap_(LiveTap::said, out_);
    heard_.erase(heard_.begin(), heard_.begin() + static_cast<std::ptrdiff_t>(chunk));
  }
  told_.capture_level = std::sqrt(std::exchange(heard_power_, 0.0) / static_cast<double>(chunk));
  told_.render_level = root_mean_square(out_);
  put_out();
  ++steps_;
  for (const Event& event : step.events) {
    LiveEvent told{.kind = LiveEvent::Kind::session, .sample = event.sample, .event = event};
    told.text = event.text;
    told.codes.assign(event.codes.begin(), event.codes.end());
    told.event.text = {};  // the session's own, gone with its next call
    told.event.codes = {};
    tell_(std::move(told));
  }
  for (TurnReport& turn : stepped_.take_turns()) {
    LiveEvent told{.kind = LiveEvent::Kind::turn};
    told.sample = steps_ * static_cast<std::int64_t>(rates_.out_chunk_samples);
    told.turn = turn;
    tell_(std::move(told));
  }
  LiveEvent made{.kind = LiveEvent::Kind::step, .timing = step.timing, .floor = step.floor};
  made.sample = steps_ * static_cast<std::int64_t>(rates_.out_chunk_samples);
  made.stage = step.timing.bottleneck();
  made.lag_s = static_cast<double>(render_.queue().level()) / options_.render_hz -
               static_cast<double>(rates_.out_chunk_samples) / rates_.output_hz +
               options_.render_latency_s;
  const double chunk_s = static_cast<double>(rates_.chunk_samples) / rates_.input_hz;
  if (static_cast<double>(step.timing.total_ns) > chunk_s * 1e9) {
    ++told_.late;
    LiveEvent late = made;
    late.kind = LiveEvent::Kind::late;
    tell_(std::move(late));
  }
  tell_(std::move(made));
}

// Says what was heard of all that was said; the rest never is.
std::int64_t Pump::drop_sound() {
  const std::int64_t heard = heard_sample();
  render_.flush();
  forget_sound();
  return heard;
}

// After an interruption the session fades its sound out, for the loudspeaker too late: nobody is to
// hear that as a word behind the silence.
void Pump::forget_sound() {
  render_resampler_.reset();
  sound_place_ = static_cast<double>(sound_.end());
  hushed_ = static_cast<std::size_t>(kHush * rates_.output_hz);
}

// An empty queue, at the beginning, after a flush or a late step, would run dry at every small
// delay.
void Pump::refill_lead() {
  const auto lead = static_cast<std::size_t>(options_.lead_s * options_.render_hz);
  const std::size_t level = render_.queue().level();
  if (level * 4 > lead) return;
  std::fill(fitted_.begin(), fitted_.end(), 0.0F);
  render_.queue().write(std::span(fitted_).first(std::min(lead - level, fitted_.size())));
}

// To the loudspeaker's queue, at its rate and its clock.
void Pump::put_out() {
  const double hz = options_.render_hz;
  std::fill_n(out_.begin(), std::min(std::exchange(hushed_, 0), out_.size()), 0.0F);
  const std::size_t made = render_resampler_.push(out_, resampled_);
  sound_.push(std::span(resampled_).first(made));
  refill_lead();
  const double surplus = static_cast<double>(render_.queue().level()) / hz - options_.lead_s;
  const double ready = static_cast<double>(sound_.end() - FractionalReader::kAhead);
  if (surplus > kTooMuch || (surplus > kSlack && is_quiet(out_))) {
    told_.skipped += static_cast<std::int64_t>(ready - sound_place_);
    tell(LiveEvent::Kind::skipped, static_cast<std::int64_t>(ready - sound_place_));
    sound_place_ = ready;
  } else {
    if (std::abs(surplus) > 2 * kSlack) render_loop_.disturb();
    const double speed = render_loop_.update(surplus);
    const auto n = static_cast<std::size_t>(std::max(0.0, (ready - sound_place_) / speed));
    const std::span<float> fitted(fitted_.data(), std::min(n, fitted_.size()));
    sound_.read(sound_place_, speed, fitted);
    sound_place_ += speed * static_cast<double>(fitted.size());
    const std::size_t kept = render_.queue().write(fitted);
    if (kept < n) tell(LiveEvent::Kind::skipped, static_cast<std::int64_t>(n - kept));
    told_.skipped += static_cast<std::int64_t>(n - kept);
  }
  marks_.push_back({(steps_ + 1) * static_cast<std::int64_t>(rates_.out_chunk_samples),
                    render_.queue().written()});
  if (marks_.size() > kMarks) marks_.pop_front();
}

// `place` of the render queue has gone to the device, which takes it to the loudspeaker later.
std::int64_t Pump::heard_sample(std::int64_t place) const {
  place -= static_cast<std::int64_t>(options_.render_latency_s * options_.render_hz);
  Mark before;
  for (const Mark& mark : marks_) {
    if (mark.place > place) {
      const double share =
          static_cast<double>(place - before.place) /
          static_cast<double>(std::max<std::int64_t>(1, mark.place - before.place));
      return before.sample +
             static_cast<std::int64_t>(std::max(0.0, share) *
                                       static_cast<double>(mark.sample - before.sample));
    }
    before = mark;
  }
  return before.sample;
}

void Pump::tell(LiveEvent::Kind kind, std::int64_t count) {
  LiveEvent event{.kind = kind, .count = count};
  event.sample = steps_ * static_cast<std::int64_t>(rates_.out_chunk_samples);
  if (echo_) event.lag_s = echo_->statistics().delay_s;
  tell_(std::move(event));
}

void Pump::tell_changes() {
  if (const std::int64_t n = capture_.dropped(); n > told_.dropped) {
    tell(LiveEvent::Kind::dropped, n - std::exchange(told_.dropped, n));
  }
  if (const std::int64_t n = render_.missing(); n > told_.missing) {
    tell(LiveEvent::Kind::missing, n - std::exchange(told_.missing, n));
  }
  if (echo_ && echo_->statistics().found && !std::exchange(echo_told_, true))
    tell(LiveEvent::Kind::echo_found, 1);
}

void Pump::watch_zeros(std::span<const float> block) {
  const bool zero = std::all_of(block.begin(), block.end(), [](float x) { return x == 0.0F; });
  zeros_ = zero ? zeros_ + static_cast<std::int64_t>(block.size()) : 0;
  if (!zero) zeros_told_ = false;
  if (static_cast<double>(zeros_) > kSilent * options_.capture_hz &&
      !std::exchange(zeros_told_, true))
    tell(LiveEvent::Kind::silent_microphone, zeros_);
}

LiveStatistics Pump::statistics() const {
  LiveStatistics now = told_;
  now.steps = steps_;
  now.capture_queue_s = static_cast<double>(capture_.queue().level()) / options_.capture_hz;
  now.render_queue_s = static_cast<double>(render_.queue().level()) / options_.render_hz;
  now.clock_drift_ppm = (echo_ ? far_loop_.drift() : render_loop_.drift()) * 1e6;
  now.heard_sample = heard_sample();
  if (echo_) {
    const EchoStatistics& echo = echo_->statistics();
    now.echo_found = echo.found;
    now.erle_db = echo.erle_db;
    now.echo_delay_s = echo.delay_s;
  }
  return now;
}

}  // namespace parley::live
