// A chunk of samples becomes log-mel, then a feature; the encoder carries what it remembers.
#include "session/listen/duplex_listener.h"

#include <utility>

namespace parley {

DuplexListener::DuplexListener(ListenerParts parts)
    : parts_(std::move(parts)), log_mel_(parts_.front_end, parts_.chunk_samples) {
  encoder_state_ = parts_.encoder->create_state();
  frames_.resize(static_cast<std::size_t>(parts_.front_end.n_mels) * log_mel_.frames_per_chunk());
  feature_.resize(parts_.encoder->width());
  position_.feature = feature_.data();
}

void DuplexListener::take_in(std::span<const float> chunk, Floor, Timing& timing,
                             const StopFlag& stop) {
  {
    const Stopwatch watch(*parts_.clock, timing[Stage::front_end]);
    log_mel_.push(chunk, frames_);
  }
  const Stopwatch watch(*parts_.clock, timing[Stage::encoder]);
  parts_.encoder->encode_chunk(*encoder_state_, frames_, feature_, stop);
}

void DuplexListener::commit() {
  log_mel_.commit();
  encoder_state_->commit();
}

void DuplexListener::rollback() {
  log_mel_.rollback();
  encoder_state_->rollback();
}

void DuplexListener::reset() {
  log_mel_.reset();
  encoder_state_->reset();
}

std::unique_ptr<Listener> DuplexListener::fork() {
  auto copy = std::make_unique<DuplexListener>(parts_);
  copy->log_mel_.copy(log_mel_);
  copy_state(*encoder_state_, *copy->encoder_state_);
  return copy;
}

void DuplexListener::save(ByteWriter& to) {
  log_mel_.save(to);
  encoder_state_->save(to);
}

void DuplexListener::load(ByteReader& from) {
  log_mel_.load(from);
  encoder_state_->load(from);
}

}  // namespace parley
