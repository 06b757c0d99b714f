// Windowed-sinc resampling of streams and whole signals, by one code; knows no mel and no chunk.
// Source: Smith, "Digital audio resampling" (CCRMA, 2002), with a Hann window.
#include "audio/resampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>
#include <string>

#include "parley/errors.hpp"

namespace parley {

// The filter at the reduced ratio. An output of phase p in block b is the sum over its taps, the
// last of which lies on input sample b * from + last[p].
struct StreamingResampler::Kernel {
  std::int64_t from = 1;
  std::int64_t to = 1;
  std::size_t taps = 4;            // a multiple of 4
  std::size_t lookahead = 0;       // in input samples
  std::vector<std::int64_t> last;  // [to]
  std::vector<float> weights;      // [to, taps]
};

namespace {

constexpr std::size_t kSlice = 4096;  // input samples that a whole signal is pushed by

void check_rates(int from_hz, int to_hz, int zeros, double rolloff) {
  if (from_hz > 0 && to_hz > 0 && zeros > 0 && rolloff > 0.0 && rolloff <= 1.0) return;
  throw InputError(
      "[audio.resample] expected rates and zeros above 0 and a rolloff from 0 to 1, got " +
      std::to_string(from_hz) + " Hz, " + std::to_string(to_hz) + " Hz, " + std::to_string(zeros) +
      " and " + std::to_string(rolloff) + "; correct them");
}

double weight(double time, double zeros) {  // at `time` in zero crossings
  if (std::abs(time) >= zeros) return 0.0;
  const double x = std::numbers::pi * time;
  const double window = std::cos(x / zeros / 2.0);
  return (x == 0.0 ? 1.0 : std::sin(x) / x) * window * window;
}

double dot(const float* weights, const float* samples, std::size_t n) {  // n is a multiple of 4
  double sums[4] = {};
  for (std::size_t i = 0; i < n; i += 4) {
    for (std::size_t j = 0; j < 4; ++j) {
      sums[j] += static_cast<double>(weights[i + j]) * static_cast<double>(samples[i + j]);
    }
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace

std::shared_ptr<const StreamingResampler::Kernel> StreamingResampler::make_kernel(int from_hz,
                                                                                  int to_hz,
                                                                                  int zeros,
                                                                                  double rolloff) {
  check_rates(from_hz, to_hz, zeros, rolloff);
  auto kernel = std::make_shared<Kernel>();
  Kernel& k = *kernel;
  k.from = from_hz / std::gcd(from_hz, to_hz);
  k.to = to_hz / std::gcd(from_hz, to_hz);
  k.last.assign(static_cast<std::size_t>(k.to), 0);
  if (from_hz == to_hz) {
    k.weights = {0.0F, 0.0F, 0.0F, 1.0F};
    return kernel;
  }
  const double from = static_cast<double>(k.from);
  const double cutoff = std::min(from, static_cast<double>(k.to)) * rolloff;
  const double reach = zeros * from / cutoff;  // of the filter to either side, in input samples
  k.lookahead = static_cast<std::size_t>(std::ceil(reach));
  k.taps = (static_cast<std::size_t>(2.0 * reach) + 1 + 3) / 4 * 4;
  k.weights.resize(k.last.size() * k.taps);
  for (std::size_t p = 0; p < k.last.size(); ++p) {
    const double centre = static_cast<double>(p) * from / static_cast<double>(k.to);
    k.last[p] = static_cast<std::int64_t>(std::floor(centre + reach));
    for (std::size_t i = 0; i < k.taps; ++i) {
      const double at = static_cast<double>(k.last[p]) - static_cast<double>(k.taps - 1 - i);
      const double time = (at - centre) / from * cutoff;
      k.weights[p * k.taps + i] = static_cast<float>(weight(time, zeros) * cutoff / from);
    }
  }
  return kernel;
}

StreamingResampler::StreamingResampler(int from_hz, int to_hz, int zeros, double rolloff,
                                       std::size_t max_push)
    : kernel_(make_kernel(from_hz, to_hz, zeros, rolloff)),
      slice_(std::max(max_push, kernel_->lookahead + 1)),
      buffer_(kernel_->taps - 1 + slice_) {
  reset();
}

void StreamingResampler::reset() {
  held_ = kernel_->taps - 1;
  std::fill_n(buffer_.begin(), held_, 0.0F);
  n_in_ = 0;
  n_out_ = 0;
  phase_ = 0;
  block_ = 0;
}

std::size_t StreamingResampler::lookahead() const {
  return kernel_->lookahead;
}

std::size_t StreamingResampler::max_output(std::size_t n_input) const {
  const std::size_t n = n_input + kernel_->lookahead + 1;
  return n * static_cast<std::size_t>(kernel_->to) / static_cast<std::size_t>(kernel_->from) + 2;
}

// Takes one slice in and writes what became final, at most up to output number `end`.
std::size_t StreamingResampler::advance(const float* samples, std::size_t n, std::span<float> out,
                                        std::int64_t end) {
  const Kernel& k = *kernel_;
  if (samples != nullptr) {
    std::copy_n(samples, n, buffer_.data() + held_);
  } else {
    std::fill_n(buffer_.data() + held_, n, 0.0F);
  }
  held_ += n;
  n_in_ += static_cast<std::int64_t>(n);
  std::size_t written = 0;
  const auto last = [&] { return block_ + k.last[phase_]; };  // input sample of the last tap
  const auto at = [&](std::int64_t input) {                   // its place in the buffer
    return held_ - static_cast<std::size_t>(n_in_ - input);
  };
  while (last() < n_in_ && n_out_ < end) {
    const float* first_tap = buffer_.data() + at(last()) + 1 - k.taps;
    out[written++] = static_cast<float>(dot(&k.weights[phase_ * k.taps], first_tap, k.taps));
    ++n_out_;
    if (++phase_ == k.last.size()) {
      phase_ = 0;
      block_ += k.from;
    }
  }
  const std::size_t keep = std::min(held_, k.taps - 1);
  std::memmove(buffer_.data(), buffer_.data() + held_ - keep, keep * sizeof(float));
  held_ = keep;
  return written;
}

std::size_t StreamingResampler::push(std::span<const float> samples, std::span<float> out) {
  if (out.size() < max_output(samples.size())) {
    throw InputError("[audio.resample] expected room for " +
                     std::to_string(max_output(samples.size())) + " samples, got " +
                     std::to_string(out.size()) + "; use max_output()");
  }
  std::size_t written = 0;
  while (!samples.empty()) {
    const std::size_t n = std::min(samples.size(), slice_);
    written += advance(samples.data(), n, out.subspan(written), INT64_MAX);
    samples = samples.subspan(n);
  }
  return written;
}

std::size_t StreamingResampler::finish(std::span<float> out) {
  if (out.size() < max_output(0)) {
    throw InputError("[audio.resample] expected room for " + std::to_string(max_output(0)) +
                     " samples, got " + std::to_string(out.size()) + "; use max_output(0)");
  }
  const std::int64_t total = (n_in_ * kernel_->to + kernel_->from - 1) / kernel_->from;
  return advance(nullptr, kernel_->lookahead + 1, out, total);
}

std::vector<float> resample(std::span<const float> samples, int from_hz, int to_hz, int zeros,
                            double rolloff) {
  StreamingResampler resampler(from_hz, to_hz, zeros, rolloff, kSlice);
  std::vector<float> out(resampler.max_output(samples.size()) + resampler.max_output(0));
  std::size_t n = resampler.push(samples, out);
  n += resampler.finish(std::span(out).subspan(n));
  out.resize(n);
  return out;
}

void StreamingResampler::save(ByteWriter& to) const {
  to.put_all(std::span<const float>(buffer_).first(held_));
  to.put(static_cast<std::uint64_t>(phase_));
  to.put(block_);
  to.put(n_in_);
  to.put(n_out_);
}

void StreamingResampler::load(ByteReader& from) {
  constexpr std::int64_t kMostSamples = std::int64_t{1} << 62;
  reset();
  std::vector<float> held(held_);
  from.get_all(std::span<float>(held));
  const auto phase = from.get<std::uint64_t>();
  const auto block = from.get<std::int64_t>();
  const auto n_in = from.get<std::int64_t>();
  const auto n_out = from.get<std::int64_t>();
  // The next output needs a sample that is still to come.
  ByteReader::require(phase < kernel_->last.size() && n_in >= 0 && n_in < kMostSamples &&
                          n_out >= 0 && block >= 0 && block <= n_in + kernel_->from &&
                          block + kernel_->last[phase] >= n_in,
                      "a resampler that makes sense");
  std::copy(held.begin(), held.end(), buffer_.begin());
  phase_ = static_cast<std::size_t>(phase);
  block_ = block;
  n_in_ = n_in;
  n_out_ = n_out;
}

}  // namespace parley
