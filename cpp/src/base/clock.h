// Where time comes from; tests pass their own, so an hour takes a second.
#pragma once
#include <chrono>
#include <cstdint>

namespace parley {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::int64_t now_ns() const = 0;  // monotone, from any origin
};

class SteadyClock final : public Clock {
 public:
  std::int64_t now_ns() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

// Adds the time of a scope to a counter.
class Stopwatch {
 public:
  Stopwatch(const Clock& clock, std::int64_t& total)
      : clock_(clock), total_(total), start_(clock.now_ns()) {}
  ~Stopwatch() { total_ += clock_.now_ns() - start_; }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  const Clock& clock_;
  std::int64_t& total_;
  std::int64_t start_;
};

}  // namespace parley
