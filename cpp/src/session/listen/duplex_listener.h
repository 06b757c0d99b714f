// Duplex hears chunk by chunk, without a turn.
#pragma once
#include <vector>

#include "audio/log_mel.h"
#include "session/listener.h"

namespace parley {

// Duplex: every chunk gives one feature, whoever has the floor.
class DuplexListener final : public Listener {
 public:
  explicit DuplexListener(ListenerParts parts);
  void take_in(std::span<const float> chunk, Floor floor, Timing& timing,
               const StopFlag& stop) override;
  std::span<const Position> positions() override { return {&position_, 1}; }
  bool complete() const override { return true; }
  std::size_t delay_samples() const override { return log_mel_.delay_samples(); }
  void commit() override;
  void rollback() override;
  void reset() override;

 private:
  ListenerParts parts_;
  ChunkLogMel log_mel_;
  StatePtr encoder_state_;
  std::vector<float> frames_;   // [n_mels, mel frames of a chunk]
  std::vector<float> feature_;  // [width]
  Position position_;
};

}  // namespace parley
