// Turns are heard whole: their audio, their end, their prompt.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "session/config.h"
#include "session/listen/segment_encoder.h"
#include "session/listener.h"

namespace parley {

// Throws BundleError where the turns want short segments and the encoder has no form for them.
void check_short_form(const TurnsConfig& turns, const Encoder& encoder, const std::string& where);

// Turns: chunks add up to a turn; its end makes a prompt, which is read in portions. Whole segments
// are encoded as soon as they are full, in that step or beside those that follow, so a long turn
// costs no wait at its end and no memory.
class TurnsListener final : public Listener {
 public:
  // `room`: positions that a turn may take at the most. `budget`: positions per step, 0: all.
  TurnsListener(ListenerParts parts, TurnsConfig turns, std::string system,
                std::int32_t placeholder, std::size_t room, int budget);
  void take_in(std::span<const float> chunk, Floor floor, Timing& timing,
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
