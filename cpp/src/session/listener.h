// What the model hears: input chunks become the positions that the backbone reads; draws nothing.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "audio/front_end.h"
#include "base/clock.h"
#include "base/stop.h"
#include "parley/events.h"
#include "runners/runner.h"
#include "session/config.h"
#include "session/segment_encoder.h"
#include "stages/backbone.h"
#include "stages/encoder.h"

namespace parley {

// Work is provisional until commit(), as with the states of stages.
class Listener {
 public:
  virtual ~Listener() = default;
  // One chunk at the input rate, while the session is in `state`.
  virtual void take_in(std::span<const float> chunk, State state, Timing& timing,
                       const StopFlag& stop) = 0;
  // What the backbone reads in this step; valid until the next call.
  virtual std::span<const Position> positions() = 0;
  // Whether draws may follow those positions.
  virtual bool complete() const = 0;
  virtual std::size_t delay_samples() const = 0;  // constant, at the input rate
  virtual void commit() = 0;
  virtual void rollback() = 0;
  virtual void reset() = 0;
};

struct ListenerParts {
  std::shared_ptr<const Encoder> encoder;
  std::shared_ptr<const TokenModel> tokens;
  std::shared_ptr<const Clock> clock;
  FrontEndConfig front_end;
  std::size_t chunk_samples = 3840;  // at the input rate
  bool beside = false;               // turns: full segments are encoded on a thread of their own
};

// Duplex: every chunk gives one feature, whoever has the floor.
class ChunkListener final : public Listener {
 public:
  explicit ChunkListener(ListenerParts parts);
  void take_in(std::span<const float> chunk, State state, Timing& timing,
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

// Throws BundleError where the turns want short segments and the encoder has no form for them.
void check_short_form(const TurnsConfig& turns, const Encoder& encoder, const std::string& where);

// Turns: chunks add up to a turn; its end makes a prompt, which is read in portions. Whole segments
// are encoded as soon as they are full, in that step or beside those that follow, so a long turn
// costs no wait at its end and no memory.
class TurnListener final : public Listener {
 public:
  // `room`: positions that a turn may take at the most. `budget`: positions per step, 0: all.
  TurnListener(ListenerParts parts, TurnsConfig turns, std::string system, std::int32_t placeholder,
               std::size_t room, int budget);
  void take_in(std::span<const float> chunk, State state, Timing& timing,
               const StopFlag& stop) override;
  std::span<const Position> positions() override;
  bool complete() const override;
  std::size_t delay_samples() const override { return 0; }
  void commit() override;
  void rollback() override;
  void reset() override;

  // The turn's end. `held`: positions that the backbone holds already. Throws InputError where
  // nothing was said, ContextError where prompt and conversation exceed the room; then the turn is
  // still there.
  void end_turn(std::int64_t held);
  void end_turn_with_text(std::string_view text, std::int64_t held);
  // Forgets the turn under way, its audio, its prompt, and that it was taken.
  void abandon();
  // All ids of the prompt, placeholders included: the sampler's penalties cover them.
  std::span<const std::int32_t> ids() const { return ids_; }
  bool first_turn() const { return turns_taken_ <= 1; }

 private:
  void append(std::span<const float> rows);
  void collect(Timing& timing, const StopFlag& stop);
  std::size_t mel_frames_for(std::size_t n_features) const;
  void finish_segments(Timing& timing, const StopFlag& stop);
  void build_prompt(std::string_view pattern, std::string_view user, std::size_t n_features,
                    std::int64_t held);
  void forget_turn();

  ListenerParts parts_;
  TurnsConfig turns_;
  std::string system_;
  std::int32_t placeholder_;
  std::size_t room_;
  std::size_t budget_;
  SegmentEncoder segments_;
  std::vector<float> samples_;   // of the segment that fills up
  std::vector<float> features_;  // [n, width] of the turn so far
  std::size_t n_turn_samples_ = 0;
  std::size_t n_features_ = 0;  // that the prompt wants; features_ may hold more
  bool begun_ = false;          // a segment is encoded beside, whose rows no commit has seen yet
  bool encoded_ = true;         // the turn's last segment, too
  std::vector<std::int32_t> ids_;
  std::vector<Position> prompt_;
  std::size_t cursor_ = 0;   // into prompt_
  std::size_t portion_ = 0;  // positions given out in this step
  int turns_taken_ = 0;
  // What rollback() returns to.
  std::size_t committed_samples_ = 0;
  std::size_t committed_turn_samples_ = 0;
  std::size_t committed_features_ = 0;
  std::size_t full_samples_ = 0;  // of samples_, a segment that they leave at commit
  bool collected_ = false;        // features_ has got the rows of the segment that was begun
  bool committed_encoded_ = true;
};

// The ids of a template: literal parts with special tokens, {system} and plain user text without,
// n_features placeholders for the user's audio. Throws BundleError for an unknown {name}.
std::vector<std::int32_t> expand_template(const TokenModel& tokens, std::string_view pattern,
                                          std::string_view system, std::string_view user,
                                          std::int32_t placeholder, std::size_t n_features);

}  // namespace parley
