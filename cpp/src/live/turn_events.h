// What the turn controller is told and what it asks for, as plain values on one sample timeline.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "parley/managed.hpp"

namespace parley::live {

// What the machine around the controller has.
struct TurnAbilities {
  bool end_of_turn = false;  // a model scores whether a turn is complete
  bool transcripts = false;  // a recognizer writes down what the user says
  bool text_driven = false;  // replies are made from the transcript, not from the sound
  bool native = false;       // the model itself takes and gives the floor: observe, decide nothing
};

enum class TurnState : std::uint8_t {
  silence,
  user_speaking,
  user_paused,   // silent for `pause`; a speculative reply may be under way
  settling,      // the turn is over; its reply has no sound yet and can still be taken back
  bot_replying,  // committed: a first sample went to the loudspeaker
  bot_paused,    // the user speaks over the reply; not decided whether it is an interruption
};

enum class TurnTimer : std::uint8_t { pause, commit, confirm, give_up, cap };
inline constexpr int kTurnTimers = 5;

struct TurnEvent {
  enum class Kind : std::uint8_t {
    speech_on,     // `sample`: where the speech began
    speech_off,    // `sample`: where it ended
    eot_score,     // `score`: probability that turn `turn`, epoch `epoch` is complete
    timer,         // `timer` is due
    transcript,    // `text` of turn `turn`; `last`: it will not change
    call_audio,    // call `call` has its first sound
    call_text,     // call `call` was made from this transcript, `text`
    call_end,      // call `call` is complete; `sample`: samples of its sound, 0: it has none
    call_failed,   // call `call` gave up
    played,        // the loudspeaker has played `sample` samples of the reply
    playout_done,  // all that was generated has been played
    tool_call,     // call `call` wants tool use `id`; `last`: may be cancelled
    tool_result,   // tool use `id` has its result
    context,       // history, tools or prompt changed: what was begun before no longer fits
    native_shift,  // the model takes the floor
    native_break,  // the model gives it back
    device_lost,
    reset,
  };
  Kind kind = Kind::reset;
  std::int64_t at = 0;  // now, in samples of the session's timeline; never goes back
  std::int64_t sample = 0;
  std::int32_t turn = 0;
  std::int32_t epoch = 0;
  std::int32_t call = 0;
  std::int32_t id = 0;
  double score = 0;
  TurnTimer timer = TurnTimer::pause;
  bool last = false;
  std::string text = {};
};

struct TurnCommand {
  enum class Kind : std::uint8_t {
    open_turn,      // turn `turn` begins at `sample`; the encoder gets it from there on
    start_call,     // make reply `call` to turn `turn`, epoch `epoch`, on a fork; `speculative`
    cancel_call,    // drop the fork; nothing of it was heard
    commit,         // call `call` is the reply: its sound may go out, its fork becomes history
    pause_playout,  // at sample `sample` of the reply
    resume_playout,
    flush_playout,
    write_user,      // turn `turn` goes to the history
    write_reply,     // call `call` goes there whole
    truncate_reply,  // only its first `sample` samples were heard
    drop_reply,      // nothing of it was heard
    run_tool,        // `id`
    cancel_tool,
    insert_result,  // of tool use `id`, before what is generated next
    ask_eot,        // turn `turn`, epoch `epoch`
    ask_transcript,
    arm,  // `timer`, due at `sample` of the timeline; replaces an older date
    disarm,
    report_failure,  // the reply failed twice: tell the user
  };
  Kind kind = Kind::disarm;
  std::int64_t sample = 0;
  std::int32_t turn = 0;
  std::int32_t epoch = 0;
  std::int32_t call = 0;
  std::int32_t id = 0;
  TurnTimer timer = TurnTimer::pause;
  bool speculative = false;

  friend bool operator==(const TurnCommand&, const TurnCommand&) = default;
};

}  // namespace parley::live
