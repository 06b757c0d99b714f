// Streams from a device's rate to a session's and back, by SpeexDSP's resampler.
#include <algorithm>
#include <array>
#include <cstdint>
#include <new>
#include <numeric>
#include <string>
#include <utility>

#include "parley/errors.hpp"
#include "parley/resampler.hpp"
#include "speex_resampler.h"

namespace parley {

namespace {

constexpr int kQuality = 8;  // of 0 to 10
constexpr std::uint32_t kMostAtOnce = 1U << 16U;

}  // namespace

struct Resampler::Impl {
  Impl(int from, int to)
      : from_hz(from),
        to_hz(to),
        state(speex_resampler_init(1, static_cast<spx_uint32_t>(from),
                                   static_cast<spx_uint32_t>(to), kQuality, nullptr),
              &speex_resampler_destroy) {
    if (!state) throw std::bad_alloc();
    start();
  }

  void start() {
    speex_resampler_reset_mem(state.get());
    speex_resampler_skip_zeros(state.get());
    n_in = n_out = 0;
  }
  // Of the stream so far, how many samples there are at the other rate.
  std::int64_t length() const { return (n_in * to_hz + from_hz - 1) / from_hz; }

  std::size_t run(const float* in, std::size_t n, std::span<float> out) {
    std::size_t written = 0;
    while (n > 0) {
      auto used = static_cast<spx_uint32_t>(std::min<std::size_t>(n, kMostAtOnce));
      auto made = static_cast<spx_uint32_t>(
          std::min<std::size_t>(out.size() - written, std::size_t{1} << 30U));
      speex_resampler_process_float(state.get(), 0, in, &used, out.data() + written, &made);
      written += made;
      if (used == 0 && made == 0) break;
      if (in != nullptr) in += used;
      n -= used;
    }
    return written;
  }

  int from_hz;
  int to_hz;
  std::unique_ptr<SpeexResamplerState, void (*)(SpeexResamplerState*)> state;
  std::int64_t n_in = 0;
  std::int64_t n_out = 0;
};

Resampler::Resampler(int from_hz, int to_hz) {
  for (int hz : {from_hz, to_hz}) {
    if (hz >= kLeastHz && hz <= kMostHz) continue;
    throw InputError("[audio.resampler] expected rates from " + std::to_string(kLeastHz) + " to " +
                     std::to_string(kMostHz) + " Hz, got " + std::to_string(hz) +
                     "; give the rate of the device");
  }
  impl_ = std::make_unique<Impl>(from_hz, to_hz);
}

Resampler::~Resampler() = default;
Resampler::Resampler(Resampler&&) noexcept = default;
Resampler& Resampler::operator=(Resampler&&) noexcept = default;

std::size_t Resampler::max_output(std::size_t n_input) const {
  const auto held = static_cast<std::size_t>(speex_resampler_get_input_latency(impl_->state.get()));
  return (n_input + held + 1) * static_cast<std::size_t>(impl_->to_hz) /
             static_cast<std::size_t>(impl_->from_hz) +
         2;
}

std::size_t Resampler::push(std::span<const float> in, std::span<float> out) {
  if (out.size() < max_output(in.size())) {
    throw InputError("[audio.resampler] expected room for " +
                     std::to_string(max_output(in.size())) + " samples, got " +
                     std::to_string(out.size()) + "; use max_output()");
  }
  if (impl_->from_hz == impl_->to_hz) {
    std::copy(in.begin(), in.end(), out.begin());
    return in.size();
  }
  impl_->n_in += static_cast<std::int64_t>(in.size());
  const std::size_t n = impl_->run(in.data(), in.size(), out);
  impl_->n_out += static_cast<std::int64_t>(n);
  return n;
}

std::size_t Resampler::finish(std::span<float> out) {
  if (out.size() < max_output(0)) {
    throw InputError("[audio.resampler] expected room for " + std::to_string(max_output(0)) +
                     " samples, got " + std::to_string(out.size()) + "; use max_output(0)");
  }
  const auto left = static_cast<std::size_t>(
      std::max<std::int64_t>(0, std::min<std::int64_t>(impl_->length() - impl_->n_out,
                                                       static_cast<std::int64_t>(out.size()))));
  static constexpr std::array<float, 256> kSilence{};
  std::size_t n = 0;
  while (n < left) n += impl_->run(kSilence.data(), kSilence.size(), out.subspan(n, left - n));
  impl_->start();
  return n;
}

void Resampler::reset() {
  impl_->start();
}

int Resampler::from_hz() const {
  return impl_->from_hz;
}

int Resampler::to_hz() const {
  return impl_->to_hz;
}

}  // namespace parley
