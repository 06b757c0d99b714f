// Duplex hears chunk by chunk, without a turn.
#pragma once
#include <vector>

#include "audio/log_mel.h"
#include "session/listen/parts.h"
#include "session/listener.h"

namespace parley {

// Every chunk gives one feature, whoever has the floor.
class DuplexListener final : public Listener {
 public:
  explicit DuplexListener(ListenerParts parts);

  void take_in(std::span<const float> chunk, Floor floor, Timing& timing,
               const StopFlag& stop) override;
  Heard heard() override { return {.positions = {&position_, 1}}; }
  void commit() override;
  void rollback() override;
  std::size_t delay_samples() const override { return log_mel_.delay_samples(); }
  void reset() override;
  std::unique_ptr<Listener> fork() override;
  void save(ByteWriter& to) override;
  void load(ByteReader& from) override;

 private:
  ListenerParts parts_;
  ChunkLogMel log_mel_;
  StatePtr encoder_state_;
  std::vector<float> frames_;   // [n_mels, mel frames of a chunk]
  std::vector<float> feature_;  // [width]
  Position position_;
};

}  // namespace parley
