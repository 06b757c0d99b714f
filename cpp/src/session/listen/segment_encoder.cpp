// Segments of a turn become features, at once or on a thread beside the steps; knows no turn.
#include "session/listen/segment_encoder.h"

#include <algorithm>

#include "audio/resampler.h"
#include "audio/turn.h"

namespace parley {

namespace {

// Of rows that lie behind one another, `n` columns of `from` stay.
void keep_columns(std::span<float> values, std::size_t from, std::size_t n) {
  if (n == from) return;
  for (std::size_t row = 1; row < values.size() / from; ++row)
    std::copy_n(&values[row * from], n, &values[row * n]);
}

}  // namespace

SegmentEncoder::SegmentEncoder(std::shared_ptr<const Encoder> encoder,
                               std::shared_ptr<const Clock> clock, const FrontEndConfig& config,
                               bool beside)
    : encoder_(std::move(encoder)),
      clock_(std::move(clock)),
      config_(config),
      log_mel_(config),
      own_(make_work()) {
  if (!beside) return;
  begun_ = make_work();
  begun_samples_.reserve(static_cast<std::size_t>(config.segment_samples));
  thread_.emplace([this] {
    begun_rows_ = run(begun_, begun_samples_, mel_frames(), thread_timing_, never_);
    finished_ = true;
  });
}

SegmentEncoder::Work SegmentEncoder::make_work() const {
  const std::size_t n = mel_frames();
  return {std::vector<float>(static_cast<std::size_t>(config_.n_mels) * n),
          std::vector<float>(encoder_->segment_features(n) * encoder_->width())};
}

std::span<const float> SegmentEncoder::run(Work& work, std::span<const float> samples,
                                           std::size_t most_mel_frames, Timing& timing,
                                           const StopFlag& stop) const {
  const auto n_mels = static_cast<std::size_t>(config_.n_mels);
  std::size_t n_mel_frames = 0;
  {
    const Stopwatch watch(*clock_, timing[Stage::front_end]);
    const std::vector<float> wave = resample(samples, config_.input_hz, config_.encoder_hz,
                                             config_.resampler_zeros, config_.resampler_rolloff);
    const std::size_t all = log_mel_.n_frames(wave.size());
    const auto log_mel = std::span(work.log_mel).first(n_mels * all);
    log_mel_.compute(wave, log_mel);
    n_mel_frames = std::min(all, most_mel_frames);
    keep_columns(log_mel, all, n_mel_frames);
  }
  const Stopwatch watch(*clock_, timing[Stage::encoder]);
  const std::span<float> rows = std::span<float>(work.rows).first(
      encoder_->segment_features(n_mel_frames) * encoder_->width());
  encoder_->encode_segment(std::span<const float>(work.log_mel).first(n_mels * n_mel_frames), rows,
                           stop);
  if (!config_.own_lengths()) return rows;
  return rows.first(count_features(samples.size(), config_) * encoder_->width());
}

std::span<const float> SegmentEncoder::encode(std::span<const float> samples,
                                              std::size_t most_mel_frames, Timing& timing,
                                              const StopFlag& stop) {
  return run(own_, samples, most_mel_frames, timing, stop);
}

void SegmentEncoder::begin(std::span<const float> samples) {
  settle();  // of a turn that was given up, perhaps
  begun_samples_.assign(samples.begin(), samples.end());
  finished_ = false;
  thread_->start();
}

std::span<const float> SegmentEncoder::finish(Timing& timing, const StopFlag& stop) {
  {
    const Stopwatch watch(*clock_, timing[Stage::encoder]);
    settle();
  }
  // What failed beside is done again here, where the caller hears of it.
  if (!finished_) begun_rows_ = run(begun_, begun_samples_, mel_frames(), timing, stop);
  finished_ = true;
  return begun_rows_;
}

void SegmentEncoder::settle() {
  try {
    thread_->wait();
  } catch (...) {  // finished_ tells
  }
}

}  // namespace parley
