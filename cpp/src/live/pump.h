// The way of a sample from the microphone's queue through the session to the loudspeaker's queue;
// knows no thread and no clock: it does what the queues allow.
#pragma once
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "live/drift_loop.h"
#include "live/echo/echo_canceller.h"
#include "live/fractional_reader.h"
#include "live/sides.h"
#include "parley/live.hpp"
#include "parley/resampler.hpp"

namespace parley::live {

// What is stepped: a session, or in tests a script.
class Stepped {
 public:
  virtual ~Stepped() = default;
  // Takes a block of any size; next() makes the steps that blocks fill, as Session does.
  virtual void feed(std::span<const float> in) = 0;
  virtual std::optional<Step> next(std::span<float> out) = 0;
  // The loudspeaker has reached that output sample, and no more will be heard.
  virtual void interrupt(std::int64_t heard_until) = 0;
  // As Managed's; what decides no silence never calls it.
  virtual void on_silence(std::function<std::int64_t()> /*drop*/) {}
  virtual std::vector<TurnReport> take_turns() { return {}; }
};

struct PumpRates {
  int input_hz = 24000;  // of the session
  int output_hz = 24000;
  std::size_t chunk_samples = 3840;
  std::size_t out_chunk_samples = 3840;
};

class Pump {
 public:
  using Tap = std::function<void(LiveTap, std::span<const float>)>;
  using Tell = std::function<void(LiveEvent)>;

  Pump(Stepped& stepped, const PumpRates& rates, const LiveOptions& options, Tell tell);

  CaptureSide& capture() { return capture_; }
  RenderSide& render() { return render_; }
  void record(Tap tap) { tap_ = std::move(tap); }

  // Takes in what was captured, at most up to one step. False where that does not fill a chunk.
  // Throws what the step throws.
  bool turn();
  // Any thread: silence at once; the session is told at the next turn.
  void interrupt() {
    std::int64_t none = -1;
    interrupted_.compare_exchange_strong(none, render_.queue().read());
    render_.flush();
  }
  void mute(bool on) { muted_.store(on, std::memory_order_relaxed); }
  // On the session's output timeline: the last sample that was heard.
  std::int64_t heard_sample() const { return heard_sample(render_.queue().read()); }
  LiveStatistics statistics() const;

 private:
  struct Mark {  // this output sample lies at that place of the render queue
    std::int64_t sample = 0;
    std::int64_t place = 0;
  };

  std::int64_t heard_sample(std::int64_t place) const;
  bool take_in();
  void take_far();
  void take_block();
  void listen(std::span<const float> block);
  void after(const Step& step);
  std::int64_t drop_sound();
  void forget_sound();
  void refill_lead();
  void put_out();
  void tell_changes();
  void tell(LiveEvent::Kind kind, std::int64_t count);
  void watch_zeros(std::span<const float> block);

  Stepped& stepped_;
  PumpRates rates_;
  LiveOptions options_;
  Tell tell_;
  Tap tap_;
  CaptureSide capture_;
  RenderSide render_;
  std::size_t block_;  // 10 ms at input_hz
  std::optional<EchoCanceller> echo_;
  Resampler capture_resampler_;  // to the session's rate
  Resampler far_resampler_;
  Resampler render_resampler_;  // from it

  std::vector<float> piece_;  // of a device's queue
  std::vector<float> resampled_;
  std::vector<float> near_;  // a queue of microphone samples, shorter than a few blocks
  std::vector<float> far_block_;
  std::vector<float> cleaned_;
  FractionalReader far_;  // what was played, read at the microphone's clock
  double far_place_ = 0;
  bool far_runs_ = false;
  DriftLoop far_loop_{100.0};
  std::vector<float> heard_;    // for the tap, until its step is made
  std::vector<float> silence_;  // a block for whoever is muted
  std::vector<float> out_;
  FractionalReader sound_;  // what was said, read at the loudspeaker's clock
  double sound_place_ = 0;
  std::size_t hushed_ = 0;  // samples to be silenced
  DriftLoop render_loop_;
  std::vector<float> fitted_;
  std::deque<Mark> marks_;

  std::atomic<bool> muted_{false};
  std::atomic<std::int64_t> interrupted_{-1};  // place of the render queue; -1: not
  std::int64_t steps_ = 0;
  std::int64_t zeros_ = 0;
  bool zeros_told_ = false;
  bool echo_told_ = false;
  double heard_power_ = 0;  // of the blocks since the last step
  LiveStatistics told_;
  double speed_ = 1;
};

}  // namespace parley::live
