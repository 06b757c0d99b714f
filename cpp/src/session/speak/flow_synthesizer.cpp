// Codes become latents, latents become samples; knows no queue.
#include "session/speak/flow_synthesizer.h"

#include <algorithm>
#include <utility>

namespace parley {

FlowSynthesizer::FlowSynthesizer(Parts parts, std::shared_ptr<const Voice> voice,
                                 const SetupProgress& progress)
    : parts_(std::move(parts)),
      voice_(std::move(voice)),
      tail_(parts_.flow->tail_frames(*voice_)),
      flow_state_(parts_.flow->create_state(voice_, progress)),
      vocoder_state_(parts_.vocoder->create_state()),
      latents_((max_frames(parts_.flow->shape(), parts_.max_codes) + tail_) *
               parts_.flow->shape().z) {}

std::size_t FlowSynthesizer::samples_per_code() const {
  return parts_.flow->shape().frames_per_code * parts_.vocoder->config().samples_per_latent;
}

std::size_t FlowSynthesizer::lead() const {
  const VocoderConfig& vocoder = parts_.vocoder->config();
  return parts_.flow->shape().waiting_codes() * samples_per_code() +
         vocoder.lookahead_frames * vocoder.samples_per_latent;
}

std::size_t FlowSynthesizer::delay() const {
  return lead() + tail_ * parts_.vocoder->config().samples_per_latent;
}

std::size_t FlowSynthesizer::max_samples(std::size_t n_codes) const {
  const VocoderConfig& vocoder = parts_.vocoder->config();
  return (max_frames(parts_.flow->shape(), n_codes) + tail_ + vocoder.lookahead_frames) *
         vocoder.samples_per_latent;
}

void FlowSynthesizer::begin_reply(std::uint64_t seed, std::uint32_t reply) {
  parts_.flow->begin_reply(*flow_state_, seed, reply);
  parts_.vocoder->begin_reply(*vocoder_state_, seed, reply);
}

std::size_t FlowSynthesizer::push(std::span<const std::int32_t> codes, bool last,
                                  std::span<float> samples, Timing& timing, const StopFlag& stop) {
  FlowDecoder::Frames frames;
  {
    const Stopwatch watch(*parts_.clock, timing[Stage::flow]);
    frames = parts_.flow->push(*flow_state_, codes, last, latents_, stop);
  }
  // Latent frames under the voice prompt are heard as silence: chunk borders stay where they are.
  const std::size_t silent = frames.skip * parts_.vocoder->config().samples_per_latent;
  std::fill_n(samples.begin(), silent, 0.0F);

  const Stopwatch watch(*parts_.clock, timing[Stage::vocoder]);
  const std::size_t z = parts_.flow->shape().z;
  const auto spoken =
      std::span<const float>(latents_).subspan(frames.skip * z, (frames.n - frames.skip) * z);
  return silent +
         parts_.vocoder->push(*vocoder_state_, spoken, last, samples.subspan(silent), stop);
}

void FlowSynthesizer::commit() {
  flow_state_->commit();
  vocoder_state_->commit();
}

void FlowSynthesizer::rollback() {
  flow_state_->rollback();
  vocoder_state_->rollback();
}

void FlowSynthesizer::reset() {
  flow_state_->reset();
  vocoder_state_->reset();
}

std::unique_ptr<Synthesizer> FlowSynthesizer::fork() const {
  auto copy = std::make_unique<FlowSynthesizer>(parts_, voice_, SetupProgress());
  copy_state(*flow_state_, *copy->flow_state_);
  copy_state(*vocoder_state_, *copy->vocoder_state_);
  return copy;
}

void FlowSynthesizer::save(ByteWriter& to) const {
  flow_state_->save(to);
  vocoder_state_->save(to);
}

void FlowSynthesizer::load(ByteReader& from) {
  flow_state_->load(from);
  vocoder_state_->load(from);
}

}  // namespace parley
