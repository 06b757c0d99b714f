// A queue of samples between two threads, one of which may be an audio callback: no lock, no
// allocation, no system call, bounded.
#pragma once
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace parley::live {

// One thread writes, one reads. Positions count samples from the beginning and never wrap.
class Ring {
 public:
  explicit Ring(std::size_t at_least)
      : samples_(std::bit_ceil(std::max<std::size_t>(at_least, 2))) {}

  std::size_t capacity() const { return samples_.size(); }
  std::int64_t written() const { return written_.load(std::memory_order_acquire); }
  std::int64_t read() const { return read_.load(std::memory_order_acquire); }
  std::size_t level() const { return static_cast<std::size_t>(written() - read()); }

  // The writer: takes what there is room for and returns how many that were.
  std::size_t write(std::span<const float> samples) noexcept {
    const std::int64_t at = written_.load(std::memory_order_relaxed);
    const std::size_t room = capacity() - static_cast<std::size_t>(at - read());
    const std::size_t n = std::min(room, samples.size());
    for (std::size_t i = 0; i < n; ++i) slot(at + static_cast<std::int64_t>(i)) = samples[i];
    written_.store(at + static_cast<std::int64_t>(n), std::memory_order_release);
    return n;
  }
  // The reader: gives what there is and returns how many that were.
  std::size_t read(std::span<float> out) noexcept {
    const std::int64_t at = read_.load(std::memory_order_relaxed);
    const std::size_t n = std::min(static_cast<std::size_t>(written() - at), out.size());
    for (std::size_t i = 0; i < n; ++i) out[i] = slot(at + static_cast<std::int64_t>(i));
    read_.store(at + static_cast<std::int64_t>(n), std::memory_order_release);
    return n;
  }
  // The reader: forgets what lies before `position`.
  void skip_to(std::int64_t position) noexcept {
    const std::int64_t at = read_.load(std::memory_order_relaxed);
    read_.store(std::clamp(position, at, written()), std::memory_order_release);
  }

 private:
  float& slot(std::int64_t position) {
    return samples_[static_cast<std::size_t>(position) & (samples_.size() - 1)];
  }

  std::vector<float> samples_;
  // Apart, or each thread would take the other's line of the cache.
  alignas(64) std::atomic<std::int64_t> written_{0};
  alignas(64) std::atomic<std::int64_t> read_{0};
};

}  // namespace parley::live
