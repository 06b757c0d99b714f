// The two ends that audio callbacks may call: capture takes the microphone's blocks, render fills
// the loudspeaker's. No lock, no allocation, no system call; knows no session.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "live/ring.h"
#include "parley/live.hpp"

namespace parley::live {

// A device's samples: frames of one sample per channel, one behind the other.
struct DeviceFormat {
  int hz = 48000;
  int channels = 1;
  SampleFormat samples = SampleFormat::f32;
};

// Hears the first channel: a mean is silent where a cable turns the second one upside down. What
// does not fit into the queue is dropped and counted.
class CaptureSide {
 public:
  CaptureSide(const DeviceFormat& format, double queue_s);
  void push(const void* frames, std::size_t n_frames) noexcept;

  Ring& queue() { return queue_; }
  const Ring& queue() const { return queue_; }
  std::int64_t dropped() const { return dropped_.load(std::memory_order_acquire); }

 private:
  DeviceFormat format_;
  Ring queue_;
  std::atomic<std::int64_t> dropped_{0};
};

// The same sample to all channels; silence where the queue is empty.
class RenderSide {
 public:
  RenderSide(const DeviceFormat& format, double queue_s);
  void pull(void* frames, std::size_t n_frames) noexcept;

  // Any thread: what is queued is not wanted any more. It fades out over 5 ms and is skipped.
  void flush() noexcept { flush_to_.store(queue_.written(), std::memory_order_release); }

  Ring& queue() { return queue_; }
  const Ring& queue() const { return queue_; }
  Ring& played() { return played_; }  // what went to the device, silence and all
  // Samples of silence that stood in for sound that came too late.
  std::int64_t missing() const { return missing_.load(std::memory_order_acquire); }

 private:
  float next() noexcept;
  void begin_fade() noexcept;
  void end_fade() noexcept;

  DeviceFormat format_;
  Ring queue_;
  Ring played_;
  std::int64_t fade_samples_;
  std::int64_t fading_ = 0;  // samples that are left of a fade
  std::int64_t fade_end_ = 0;
  bool started_ = false;
  std::atomic<std::int64_t> flush_to_{0};
  std::atomic<std::int64_t> missing_{0};
};

}  // namespace parley::live
