// A reply's way from codes to sound: flow decoder, vocoder, playback queue; knows no backbone.
#include "session/speak/speech.h"

#include <algorithm>
#include <cmath>

namespace parley {

Speech::Speech(Parts parts) : parts_(std::move(parts)) {
  const FlowShape& flow = parts_.flow->shape();
  const VocoderConfig& vocoder = parts_.vocoder->config();
  samples_per_latent_ = vocoder.samples_per_latent;
  samples_per_code_ = flow.frames_per_code * samples_per_latent_;
  lead_ = flow.lookahead_codes * samples_per_code_ + vocoder.lookahead_frames * samples_per_latent_;
  const std::size_t tail = parts_.flow->tail_frames(*parts_.voice);
  delay_ = lead_ + tail * samples_per_latent_;
  const std::size_t frames = max_frames(flow, parts_.max_codes_per_step) + tail;
  latents_.resize(frames * flow.z);
  // One begin (a lead of silence), then all samples that the codes and both look-aheads can give.
  staged_.resize(delay_ + (frames + vocoder.lookahead_frames) * samples_per_latent_);
  queue_.resize(2 * (staged_.size() + parts_.chunk_samples));
  flow_state_ = parts_.flow->create_state(parts_.voice, parts_.voice_progress);
  vocoder_state_ = parts_.vocoder->create_state();
}

void Speech::run(const Job& job, Timing& timing, const StopFlag& stop) {
  if (job.drops) {
    drop(timing, stop);
    return;
  }
  if (job.begins) begin(job.seed, job.reply);
  if (job.n_codes > 0 || job.last)
    push(std::span<const std::int32_t>(job.codes).first(job.n_codes), job.last, timing, stop);
}

void Speech::begin(std::uint64_t seed, std::uint32_t reply) {
  parts_.flow->begin_reply(*flow_state_, seed, reply);
  parts_.vocoder->begin_reply(*vocoder_state_);
  began_ = true;
  ended_ = false;
  // The look-ahead becomes silence in front, so sample n of a reply always has the same delay.
  std::fill_n(staged_.begin(), lead_, 0.0F);
  n_staged_ = lead_;
}

void Speech::push(std::span<const std::int32_t> codes, bool last, Timing& timing,
                  const StopFlag& stop) {
  FlowDecoder::Frames frames;
  {
    const Stopwatch watch(*parts_.clock, timing[Stage::flow]);
    frames = parts_.flow->push(*flow_state_, codes, last, latents_, stop);
  }
  // Latent frames under the voice prompt are heard as silence: chunk borders stay where they are.
  const std::size_t silent = frames.skip * samples_per_latent_;
  std::fill_n(staged_.begin() + static_cast<std::ptrdiff_t>(n_staged_), silent, 0.0F);
  n_staged_ += silent;

  const Stopwatch watch(*parts_.clock, timing[Stage::vocoder]);
  const std::size_t z = parts_.flow->shape().z;
  const auto spoken =
      std::span<const float>(latents_).subspan(frames.skip * z, (frames.n - frames.skip) * z);
  const auto room = std::span<float>(staged_).subspan(n_staged_);
  const std::size_t n = parts_.vocoder->push(*vocoder_state_, spoken, last, room, stop);
  for (float& sample : room.first(n)) {
    if (std::isfinite(sample)) continue;
    sample = 0.0F;
    ++muted_;
  }
  n_staged_ += n;
  ended_ = ended_ || last;
}

void Speech::drop(Timing& timing, const StopFlag& stop) {
  // What both stages hold back would be heard next, so it is what fades.
  if (!finished_) push({}, true, timing, stop);
  drop_ = true;
}

Speech::Played Speech::commit(std::span<float> out) {
  flow_state_->commit();
  vocoder_state_->commit();
  if (began_) {
    head_ = size_ = 0;
    reply_samples_ = 0;
    last_sample_ = 0.0F;
    finished_ = false;
  }
  Played played;
  played.muted = muted_;
  for (std::size_t i = 0; i < n_staged_; ++i) enqueue(staged_[i]);
  finished_ = finished_ || ended_ || drop_;
  if (drop_) {
    // A linear fade of what is queued; where too little is, its last value fades on.
    const std::size_t n = std::min(parts_.fade_samples, out.size());
    for (std::size_t i = 0; i < n; ++i) {
      if (size_ > 0) last_sample_ = dequeue();
      out[i] = last_sample_ * (1.0F - static_cast<float>(i + 1) / static_cast<float>(n));
    }
    played.samples = n;
    size_ = 0;
    last_sample_ = 0.0F;
  } else {
    played.samples = std::min(size_, out.size());
    for (std::size_t i = 0; i < played.samples; ++i) out[i] = last_sample_ = dequeue();
  }
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(played.samples), out.end(), 0.0F);
  reply_samples_ += static_cast<std::int64_t>(played.samples);
  n_staged_ = muted_ = 0;
  began_ = ended_ = drop_ = false;
  return played;
}

void Speech::rollback() {
  flow_state_->rollback();
  vocoder_state_->rollback();
  n_staged_ = muted_ = 0;
  began_ = ended_ = drop_ = false;
}

void Speech::reset() {
  flow_state_->reset();
  vocoder_state_->reset();
  n_staged_ = muted_ = size_ = head_ = 0;
  began_ = ended_ = drop_ = false;
  finished_ = true;
  reply_samples_ = 0;
  last_sample_ = 0.0F;
}

std::size_t Speech::played_codes(std::size_t upcoming) const {
  const std::size_t ready = n_staged_ + (began_ ? 0 : size_);
  const std::int64_t heard = (began_ ? 0 : reply_samples_) +
                             static_cast<std::int64_t>(std::min(upcoming, ready)) -
                             static_cast<std::int64_t>(delay_);
  return heard <= 0 ? 0 : static_cast<std::size_t>(heard) / samples_per_code_;
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

}  // namespace parley
