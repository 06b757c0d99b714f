// Log-mel of whole segments and of streams over one power computation; knows no model and no turn.
#include "audio/log_mel.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "audio/mel.h"
#include "audio/resampler.h"
#include "parley/errors.hpp"

namespace parley {
namespace {

double decades(double power, double floor) {
  return std::log10(std::max(power, floor));
}

std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

void check_size(const char* verb, std::size_t expected, std::size_t got) {
  if (expected == got) return;
  throw InputError("[audio." + std::string(verb) + "] expected " + std::to_string(expected) +
                   " numbers, got " + std::to_string(got) + "; pass spans of the sizes asked for");
}

// Samples at encoder_hz that become frames: n of the signal and the zeros behind them.
std::int64_t filled_samples(std::int64_t n, const FrontEndConfig& c) {
  if (c.own_lengths()) return n + c.tail_samples;
  return std::int64_t{c.segment_samples} * c.encoder_hz / c.input_hz;
}

}  // namespace

std::size_t segment_mel_frames(std::size_t n_samples, const FrontEndConfig& config) {
  const auto n = static_cast<std::int64_t>(n_samples);
  const std::int64_t resampled = (n * config.encoder_hz + config.input_hz - 1) / config.input_hz;
  return size(filled_samples(resampled, config) / config.hop);
}

struct SegmentLogMel::Impl {
  explicit Impl(const FrontEndConfig& c) : config(checked(c)), mel(c) {
    most = std::int64_t{c.segment_samples} * c.encoder_hz / c.input_hz;
    if (!c.own_lengths() && most <= c.n_fft / 2) {
      throw InputError("[audio.segment] expected segments of more than half of n_fft, got " +
                       std::to_string(most) + " samples; correct segment_samples");
    }
  }

  // Sample i of a segment of `n`: zeros behind the signal, reflected beyond its beginning, and
  // beyond the end of one that was filled up.
  float at(std::span<const float> samples, std::int64_t i, std::int64_t n) const {
    i = i < 0 ? -i : i;
    i = i < n || config.own_lengths() ? i : 2 * (n - 1) - i;
    return i < static_cast<std::int64_t>(samples.size()) ? samples[size(i)] : 0.0F;
  }

  FrontEndConfig config;
  MelPowers mel;
  std::int64_t most = 0;  // samples of a whole segment
};

SegmentLogMel::SegmentLogMel(const FrontEndConfig& config)
    : impl_(std::make_unique<Impl>(config)) {}

SegmentLogMel::~SegmentLogMel() = default;

std::size_t SegmentLogMel::n_frames() const {
  return n_frames(size(impl_->most));
}

std::size_t SegmentLogMel::n_frames(std::size_t n_samples) const {
  const FrontEndConfig& c = impl_->config;
  return size(filled_samples(static_cast<std::int64_t>(n_samples), c) / c.hop);
}

void SegmentLogMel::compute(std::span<const float> samples, std::span<float> log_mel) const {
  const Impl& impl = *impl_;
  const FrontEndConfig& c = impl.config;
  const std::size_t n_mels = size(c.n_mels);
  const std::int64_t n_samples = filled_samples(static_cast<std::int64_t>(samples.size()), c);
  const std::size_t n_frames = this->n_frames(samples.size());
  check_size("segment", n_mels * n_frames, log_mel.size());
  if (samples.size() > size(impl.most)) {
    throw InputError("[audio.segment] expected at most " + std::to_string(impl.most) +
                     " samples, got " + std::to_string(samples.size()) +
                     "; cut the turn into segments");
  }
  MelPowers::Scratch scratch = impl.mel.make_scratch();
  std::vector<float> frame(size(c.n_fft));
  const float silence = static_cast<float>(decades(0.0, c.log_floor));
  std::fill(log_mel.begin(), log_mel.end(), silence);
  for (std::size_t f = 0; f < n_frames; ++f) {
    const std::int64_t begin = static_cast<std::int64_t>(f) * c.hop - c.n_fft / 2;
    // Behind the signal all is zero, but the last frames see a filled segment's end reflected.
    const std::int64_t end = begin + c.n_fft;
    const bool mirrors = end > n_samples && !c.own_lengths();
    const std::int64_t first = mirrors ? std::min(begin, 2 * n_samples - 1 - end) : begin;
    if (first >= static_cast<std::int64_t>(samples.size())) continue;
    for (std::size_t i = 0; i < frame.size(); ++i) {
      frame[i] = impl.at(samples, begin + static_cast<std::int64_t>(i), n_samples);
    }
    impl.mel.compute(frame, scratch);
    for (std::size_t m = 0; m < n_mels; ++m) {
      log_mel[m * n_frames + f] = static_cast<float>(decades(scratch.mels[m], c.log_floor));
    }
  }
  const double top = *std::max_element(log_mel.begin(), log_mel.end());
  for (float& value : log_mel) {
    const double clamped = std::max(static_cast<double>(value), top - c.clamp_range);
    value = static_cast<float>((clamped + c.offset) / c.scale);
  }
}

struct ChunkLogMel::Impl {
  // What a stream remembers: the resampler's, and the encoder samples that later frames still need.
  struct State {
    StreamingResampler resampler;
    std::vector<float> samples;  // [pad + extra], extra being those final beyond the chunk
  };

  Impl(const FrontEndConfig& c, std::size_t chunk)
      : config(checked(c)),
        mel(c),
        chunk_samples(chunk),
        working{StreamingResampler(c.input_hz, c.encoder_hz, c.resampler_zeros, c.resampler_rolloff,
                                   chunk),
                {}},
        committed(working),
        scratch(mel.make_scratch()) {
    const std::int64_t divisor = std::gcd(c.input_hz, c.encoder_hz);
    const std::size_t from = size(c.input_hz / divisor);
    const std::size_t hop = size(c.hop);
    encoder_samples = chunk / from * size(c.encoder_hz / divisor);
    n_frames = encoder_samples / hop;
    pad = size(c.n_fft) - hop;
    if (chunk % from != 0 || n_frames == 0 || encoder_samples % hop != 0 ||
        size(c.chunk_frame_pad) != pad) {
      throw InputError("[audio.chunk] expected chunks of whole mel frames and a frame_pad of " +
                       std::to_string(pad) + ", got chunks of " + std::to_string(chunk) +
                       " samples and a frame_pad of " + std::to_string(c.chunk_frame_pad) +
                       "; correct the front end's config");
    }
    delay.resize((working.resampler.lookahead() + from - 1) / from * from);
    encoder.resize(pad + working.resampler.max_output(delay.size() + chunk));
    start();
    committed = working;
  }

  void start() {
    working.resampler.reset();
    const std::size_t extra = working.resampler.push(delay, std::span(encoder).subspan(pad));
    working.samples.assign(pad + extra, 0.0F);  // what comes of the delay is zero
  }

  FrontEndConfig config;
  MelPowers mel;
  std::size_t chunk_samples;
  std::size_t encoder_samples = 0;  // of a chunk
  std::size_t n_frames = 0;         // of a chunk
  std::size_t pad = 0;
  std::vector<float> delay;  // the zeros before the stream
  State working;
  State committed;
  std::vector<float> encoder;  // the state's samples, then a chunk's
  MelPowers::Scratch scratch;
};

ChunkLogMel::ChunkLogMel(const FrontEndConfig& config, std::size_t chunk_samples)
    : impl_(std::make_unique<Impl>(config, chunk_samples)) {}

ChunkLogMel::~ChunkLogMel() = default;

std::size_t ChunkLogMel::frames_per_chunk() const {
  return impl_->n_frames;
}

std::size_t ChunkLogMel::delay_samples() const {
  return impl_->delay.size();
}

void ChunkLogMel::push(std::span<const float> chunk, std::span<float> log_mel) {
  Impl& impl = *impl_;
  const FrontEndConfig& c = impl.config;
  const std::size_t n_mels = size(c.n_mels);
  check_size("chunk", impl.chunk_samples, chunk.size());
  check_size("chunk", n_mels * impl.n_frames, log_mel.size());
  std::vector<float>& held = impl.working.samples;
  std::copy(held.begin(), held.end(), impl.encoder.begin());
  impl.working.resampler.push(chunk, std::span(impl.encoder).subspan(held.size()));
  for (std::size_t f = 0; f < impl.n_frames; ++f) {
    impl.mel.compute(std::span(impl.encoder).subspan(f * size(c.hop), size(c.n_fft)), impl.scratch);
    for (std::size_t m = 0; m < n_mels; ++m) {
      const double value = decades(impl.scratch.mels[m], c.chunk_log_floor);
      log_mel[m * impl.n_frames + f] = static_cast<float>((value + c.offset) / c.scale);
    }
  }
  // Each chunk gives exactly its encoder samples, so as many stay as there were.
  const auto rest = impl.encoder.begin() + static_cast<std::ptrdiff_t>(impl.encoder_samples);
  std::copy_n(rest, held.size(), held.begin());
}

void ChunkLogMel::commit() {
  impl_->committed = impl_->working;
}

void ChunkLogMel::rollback() {
  impl_->working = impl_->committed;
}

void ChunkLogMel::reset() {
  impl_->start();
  impl_->committed = impl_->working;
}

void ChunkLogMel::copy(const ChunkLogMel& other) {
  impl_->working = impl_->committed = other.impl_->committed;
}

void ChunkLogMel::save(ByteWriter& to) const {
  impl_->committed.resampler.save(to);
  to.put_all(impl_->committed.samples);
}

void ChunkLogMel::load(ByteReader& from) {
  impl_->working.resampler.load(from);
  from.get_all(std::span<float>(impl_->working.samples));
  commit();
}

}  // namespace parley
