// Formats of devices, the fade of a flush, the books of what was played.
#include "live/sides.h"

#include <algorithm>
#include <cmath>

namespace parley::live {

namespace {

constexpr double kFade = 0.005;  // s
constexpr std::size_t kPiece = 256;

float sample_of(const void* frames, std::size_t i, SampleFormat format) {
  if (format == SampleFormat::f32) {
    const float x = static_cast<const float*>(frames)[i];
    return std::isfinite(x) ? x : 0.0F;  // a driver's fault must not end the conversation
  }
  return static_cast<float>(static_cast<const std::int16_t*>(frames)[i]) / 32768.0F;
}

void store(void* frames, std::size_t i, SampleFormat format, float x) {
  x = std::clamp(x, -1.0F, 1.0F);
  if (format == SampleFormat::f32) {
    static_cast<float*>(frames)[i] = x;
  } else {
    static_cast<std::int16_t*>(frames)[i] = static_cast<std::int16_t>(std::lrint(x * 32767.0F));
  }
}

std::size_t samples(const DeviceFormat& format, double seconds) {
  return static_cast<std::size_t>(seconds * format.hz);
}

}  // namespace

CaptureSide::CaptureSide(const DeviceFormat& format, double queue_s)
    : format_(format), queue_(samples(format, queue_s)) {}

void CaptureSide::push(const void* frames, std::size_t n_frames) noexcept {
  const auto channels = static_cast<std::size_t>(format_.channels);
  float mono[kPiece];
  std::int64_t lost = 0;
  for (std::size_t at = 0; at < n_frames; at += kPiece) {
    const std::size_t n = std::min(kPiece, n_frames - at);
    for (std::size_t i = 0; i < n; ++i) {
      mono[i] = sample_of(frames, (at + i) * channels, format_.samples);
    }
    lost += static_cast<std::int64_t>(n - queue_.write({mono, n}));
  }
  if (lost > 0) dropped_.fetch_add(lost, std::memory_order_release);
}

RenderSide::RenderSide(const DeviceFormat& format, double queue_s)
    : format_(format),
      queue_(samples(format, queue_s)),
      played_(samples(format, queue_s)),
      fade_samples_(static_cast<std::int64_t>(kFade * format.hz)) {}

void RenderSide::begin_fade() noexcept {
  const std::int64_t target = flush_to_.load(std::memory_order_acquire);
  if (target <= fade_end_) return;
  fading_ = std::min(fade_samples_, target - queue_.read());
  fade_end_ = target;
  if (fading_ <= 0) end_fade();
}

// The queue was emptied on purpose: silence until there is new sound is no loss.
void RenderSide::end_fade() noexcept {
  queue_.skip_to(fade_end_);
  started_ = false;
}

float RenderSide::next() noexcept {
  float x = 0;
  if (queue_.read({&x, 1}) == 0) {
    if (started_) missing_.fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
  started_ = true;
  if (fading_ > 0) {
    x *= static_cast<float>(fading_) / static_cast<float>(fade_samples_);
    if (--fading_ == 0) end_fade();
  }
  return x;
}

void RenderSide::pull(void* frames, std::size_t n_frames) noexcept {
  const auto channels = static_cast<std::size_t>(format_.channels);
  float mono[kPiece];
  begin_fade();
  for (std::size_t at = 0; at < n_frames; at += kPiece) {
    const std::size_t n = std::min(kPiece, n_frames - at);
    for (std::size_t i = 0; i < n; ++i) {
      mono[i] = next();
      for (std::size_t c = 0; c < channels; ++c)
        store(frames, (at + i) * channels + c, format_.samples, mono[i]);
    }
    played_.write({mono, n});
  }
}

}  // namespace parley::live
