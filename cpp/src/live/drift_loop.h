// How fast to read a queue that another clock fills: keeps its level, so that two devices whose
// clocks differ can talk for hours.
#pragma once
#include <algorithm>
#include <cmath>
#include <numbers>

namespace parley::live {

// A loop of second order on the queue's level, which device blocks make jump by 10 ms and more: it
// follows the mean and not the jumps. Source: Adriaensen, "Controlling adaptive resampling" (2012).
class DriftLoop {
 public:
  // `hz`: how often update() is called.
  explicit DriftLoop(double hz) : interval_(1.0 / hz) { reset(); }

  // `surplus`: seconds that the queue holds above its aim. Returns the speed to read with.
  double update(double surplus) {
    // Wide at first, to find the level; then so narrow that nobody hears the pitch move.
    const double bandwidth = std::max(kNarrow, kWide * std::exp(-age_ / kSettling));
    age_ += interval_;
    const double omega = 2.0 * std::numbers::pi * bandwidth;
    drift_ = std::clamp(drift_ + omega * omega * interval_ * surplus, -kMost, kMost);
    return 1.0 + std::clamp(drift_ + std::numbers::sqrt2 * omega * surplus, -kMost, kMost);
  }
  // Of the filling clock against ours, parts in one.
  double drift() const { return drift_; }
  // The level jumped for a reason of its own: find it again, with the drift that is known.
  void disturb() { age_ = std::min(age_, kSettling); }
  void reset() { drift_ = age_ = 0; }

 private:
  static constexpr double kWide = 0.3;       // Hz
  static constexpr double kNarrow = 0.003;   // Hz
  static constexpr double kSettling = 15.0;  // s
  static constexpr double kMost = 2e-3;

  double interval_;
  double drift_ = 0;
  double age_ = 0;
};

}  // namespace parley::live
