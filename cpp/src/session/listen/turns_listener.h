// Turns are heard whole: their audio, their end, their prompt.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "session/config.h"
#include "session/listen/parts.h"
#include "session/listen/prompt_template.h"
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
  struct Limits {
    std::size_t room = 8192;  // positions that a turn may take at the most
    std::size_t budget = 0;   // positions of a prompt per step; 0: all
  };
  // What a conversation begins with.
  struct Told {
    std::string system;
    std::string tools = {};  // JSON; empty: of none
    bool text_only = false;  // prompts leave out what begins speech
  };
  TurnsListener(ListenerParts parts, TurnsConfig turns, Told told, std::int32_t placeholder,
                Limits limits);

  void take_in(std::span<const float> chunk, Floor floor, Timing& timing,
               const StopFlag& stop) override;
  Heard heard() override;
  void commit() override;
  void rollback() override;
  std::size_t delay_samples() const override { return 0; }
  bool takes_turns() const override { return true; }
  void end_turn(std::int64_t at, std::size_t filled) override;
  void end_turn_with_text(std::string_view text, std::int64_t at) override;
  void end_turn_with_result(std::string_view name, std::string_view content,
                            std::int64_t at) override;
  void abandon_turn() override;
  void reset() override;
  std::unique_ptr<Listener> fork() override;
  void save(ByteWriter& to) override;
  void load(ByteReader& from) override;

 private:
  // What a step changes; vectors are remembered by their length. A step works on a copy.
  struct Progress {
    std::uint64_t n_samples = 0;       // of samples_
    std::uint64_t n_values = 0;        // of features_
    std::uint64_t n_turn_samples = 0;  // that the turn has so far
    std::uint64_t cursor = 0;          // into prompt_: what the mind has read
    bool begun = false;                // a segment is encoded beside, whose rows features_ lacks
    bool encoded = true;               // all segments of the turn are
  };

  void append(std::span<const float> rows);
  void collect(Timing& timing, const StopFlag& stop);
  std::size_t mel_frames_for(std::size_t n_features) const;
  void finish_segments(Timing& timing, const StopFlag& stop);
  void place_features();
  void build_prompt(std::string_view pattern, PromptFill fill, std::int64_t at);
  void forget_turn();
  void forget_prompt();
  void settle();

  ListenerParts parts_;
  TurnsConfig turns_;
  Told told_;
  std::int32_t placeholder_;
  Limits limits_;
  SegmentEncoder segments_;
  Progress done_;                  // as of the last commit
  Progress work_;                  // of the step under way
  std::vector<float> samples_;     // of the segment that fills up
  std::vector<float> features_;    // [n, width] of the turn so far
  std::size_t full_samples_ = 0;   // of samples_: a segment that leaves them at commit
  std::vector<std::int32_t> ids_;  // of the prompt, placeholders included
  std::vector<Position> prompt_;
  std::size_t n_features_ = 0;  // that the prompt wants; features_ may hold more
  int turns_taken_ = 0;
  bool of_result_ = false;  // the prompt; what the user says is not its
};

}  // namespace parley
