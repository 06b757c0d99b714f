// A reply's sound: synthesizer, playback queue, and what was played; knows no mind.
#include "session/speak/speech.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace parley {

Speech::Speech(std::unique_ptr<Synthesizer> synthesizer, Shape shape)
    : synthesizer_(std::move(synthesizer)), shape_(shape) {
  // One begin (a lead of silence), then all that the codes can give.
  staged_.resize(delay() + synthesizer_->max_samples(shape_.max_codes_per_step));
  queue_.resize(2 * (staged_.size() + shape_.chunk_samples));
}

void Speech::run(const Job& job, Timing& timing, const StopFlag& stop) {
  if (job.drops) {
    drop(timing, stop);
    return;
  }
  if (job.begins) {
    synthesizer_->begin_reply(job.seed, job.reply);
    began_ = true;
    ended_ = false;
    // The look-ahead becomes silence in front, so sample n of a reply always has the same delay.
    n_staged_ = synthesizer_->lead();
    std::fill_n(staged_.begin(), n_staged_, 0.0F);
  }
  if (!job.codes.empty() || job.last) push(job.codes, job.last, timing, stop);
}

void Speech::push(std::span<const std::int32_t> codes, bool last, Timing& timing,
                  const StopFlag& stop) {
  const auto room = std::span<float>(staged_).subspan(n_staged_);
  const std::size_t n = synthesizer_->push(codes, last, room, timing, stop);
  for (float& sample : room.first(n)) {
    if (std::isfinite(sample)) continue;
    sample = 0.0F;
    ++muted_;
  }
  n_staged_ += n;
  ended_ = ended_ || last;
}

void Speech::drop(Timing& timing, const StopFlag& stop) {
  // What the synthesizer holds back would be heard next, so it is what fades.
  if (!progress_.finished) push({}, true, timing, stop);
  drop_ = true;
}

Speech::Played Speech::commit(std::span<float> out) {
  synthesizer_->commit();
  if (began_) {
    head_ = size_ = 0;
    progress_.reply_samples = 0;
    progress_.last_sample = 0.0F;
    progress_.finished = false;
    progress_.first_chunk = progress_.chunks;
  }
  Played played;
  played.muted = muted_;
  for (std::size_t i = 0; i < n_staged_; ++i) enqueue(staged_[i]);
  progress_.finished = progress_.finished || ended_ || drop_;
  if (drop_) {
    played.samples = std::min(shape_.fade_samples, out.size());
    fade_out(out.first(played.samples));
  } else {
    played.samples = std::min(size_, out.size());
    for (std::size_t i = 0; i < played.samples; ++i) out[i] = progress_.last_sample = dequeue();
  }
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(played.samples), out.end(), 0.0F);
  history_[static_cast<std::size_t>(progress_.chunks++) % kRemembered] = {
      progress_.reply_samples, static_cast<std::int64_t>(played.samples)};
  progress_.reply_samples += static_cast<std::int64_t>(played.samples);
  n_staged_ = muted_ = 0;
  began_ = ended_ = drop_ = false;
  return played;
}

// A linear fade of what is queued; where too little is, its last value fades on.
void Speech::fade_out(std::span<float> out) {
  const auto n = static_cast<float>(out.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (size_ > 0) progress_.last_sample = dequeue();
    out[i] = progress_.last_sample * (1.0F - static_cast<float>(i + 1) / n);
  }
  size_ = 0;
  progress_.last_sample = 0.0F;
}

void Speech::rollback() {
  synthesizer_->rollback();
  n_staged_ = muted_ = 0;
  began_ = ended_ = drop_ = false;
}

void Speech::reset() {
  synthesizer_->reset();
  n_staged_ = muted_ = size_ = head_ = 0;
  began_ = ended_ = drop_ = false;
  progress_ = {};
  history_ = {};
}

std::size_t Speech::played_codes(std::size_t upcoming) const {
  const std::size_t ready = n_staged_ + (began_ ? 0 : size_);
  return codes_in((began_ ? 0 : progress_.reply_samples) +
                  static_cast<std::int64_t>(std::min(upcoming, ready)));
}

std::size_t Speech::played_codes_at(std::int64_t sample) const {
  const auto chunk_samples = static_cast<std::int64_t>(shape_.chunk_samples);
  const std::int64_t chunk = std::max<std::int64_t>(sample, 0) / chunk_samples;
  if (chunk >= progress_.chunks) return codes_in(progress_.reply_samples);
  if (chunk < progress_.first_chunk) return 0;
  const std::int64_t oldest =
      std::max<std::int64_t>(0, progress_.chunks - static_cast<std::int64_t>(kRemembered));
  if (chunk < oldest)
    return codes_in(history_[static_cast<std::size_t>(oldest) % kRemembered].before);
  const PlayedChunk& then = history_[static_cast<std::size_t>(chunk) % kRemembered];
  return codes_in(then.before + std::min(then.samples, sample - chunk * chunk_samples));
}

std::size_t Speech::codes_in(std::int64_t reply_samples) const {
  const std::int64_t heard = reply_samples - static_cast<std::int64_t>(delay());
  return heard <= 0 ? 0 : static_cast<std::size_t>(heard) / synthesizer_->samples_per_code();
}

void Speech::enqueue(float sample) {
  queue_[(head_ + size_) % queue_.size()] = sample;
  ++size_;
}

float Speech::dequeue() {
  const float sample = queue_[head_];
  head_ = (head_ + 1) % queue_.size();
  --size_;
  return sample;
}

Speech::Speech(const Speech& other)
    : synthesizer_(other.synthesizer_->fork()),
      shape_(other.shape_),
      staged_(other.staged_.size()),
      progress_(other.progress_),
      queue_(other.queue_),
      head_(other.head_),
      size_(other.size_),
      history_(other.history_) {}

void Speech::save(ByteWriter& to) const {
  to.put_flag(progress_.finished);
  to.put(progress_.last_sample);
  to.put(progress_.reply_samples);
  to.put(progress_.chunks);
  to.put(progress_.first_chunk);
  std::vector<float> waiting(size_);
  for (std::size_t i = 0; i < size_; ++i) waiting[i] = queue_[(head_ + i) % queue_.size()];
  to.put_all(waiting);
  to.put_all(std::span<const PlayedChunk>(history_));
  synthesizer_->save(to);
}

void Speech::load(ByteReader& from) {
  reset();
  progress_.finished = from.get_flag();
  progress_.last_sample = from.get<float>();
  progress_.reply_samples = from.get<std::int64_t>();
  progress_.chunks = from.get<std::int64_t>();
  progress_.first_chunk = from.get<std::int64_t>();
  // As much as a step can leave there.
  const auto waiting = from.get_some<float>(queue_.size() - staged_.size());
  for (float sample : waiting) enqueue(sample);
  from.get_all(std::span<PlayedChunk>(history_));
  ByteReader::require(progress_.reply_samples >= 0 && progress_.first_chunk >= 0 &&
                          progress_.first_chunk <= progress_.chunks,
                      "a reply that makes sense");
  synthesizer_->load(from);
}

}  // namespace parley
