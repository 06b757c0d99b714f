// What a step tells its caller: typed events and what the step cost; knows no stage.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace parley {

enum class EventKind : std::uint8_t {
  turn_ended,     // the user's turn is over: it was said (turns) or the model took the floor
  reply_started,  // the model takes the floor; its sound follows after Session::delay_samples()
  text,           // a piece of the reply's text
  audio,          // codes drawn in this step
  reply_ended,    // nothing more is drawn for this reply
  think,          // duplex control draws
  shift,
  break_,
  window,    // old positions were forgotten; `count` says how many
  underrun,  // codes came too late; `count` samples of silence were inserted
  muted,     // the models gave no finite numbers; `count` samples were silenced
};

enum class EndReason : std::uint8_t { none, model, break_, interrupted, max_tokens, context };

// The turn state of a session. preparing: a turn's prompt is being worked on (turns only).
enum class State : std::uint8_t { listening, preparing, speaking, closed };

struct Event {
  static constexpr std::size_t kMaxText = 64;  // a longer piece comes as several events
  static constexpr std::size_t kMaxCodes = 16;

  EventKind kind = EventKind::think;
  EndReason reason = EndReason::none;  // reply_ended only
  std::uint8_t n_text = 0;
  std::uint8_t n_codes = 0;
  std::int32_t token = -1;  // the id drawn, where the event is a draw
  std::int64_t sample = 0;  // place on the output timeline
  std::int64_t count = 0;   // window: positions; underrun, muted: samples
  std::array<char, kMaxText> text_bytes{};
  std::array<std::int32_t, kMaxCodes> codes{};

  // Bytes of UTF-8 that may end inside a character.
  std::string_view text() const { return {text_bytes.data(), n_text}; }
};

enum class Stage : std::uint8_t { front_end, encoder, backbone, flow, vocoder };

// Nanoseconds of one step by stage; engine is what is left of the total.
struct Timing {
  std::int64_t front_end_ns = 0;
  std::int64_t encoder_ns = 0;
  std::int64_t backbone_ns = 0;
  std::int64_t flow_ns = 0;
  std::int64_t vocoder_ns = 0;
  std::int64_t total_ns = 0;
  std::int64_t beside_ns = 0;  // of flow decoder and vocoder, while other stages worked
  std::int64_t engine_ns() const {
    return total_ns - front_end_ns - encoder_ns - backbone_ns - flow_ns - vocoder_ns + beside_ns;
  }
  // The stage that bounds the step's time: the longest one, where two threads worked that of the
  // busier one.
  Stage binding() const {
    constexpr auto longer = [](std::pair<std::int64_t, Stage> a, std::pair<std::int64_t, Stage> b) {
      return b.first > a.first ? b : a;
    };
    const auto mind = longer(longer({front_end_ns, Stage::front_end}, {encoder_ns, Stage::encoder}),
                             {backbone_ns, Stage::backbone});
    const auto sound = longer({flow_ns, Stage::flow}, {vocoder_ns, Stage::vocoder});
    if (beside_ns == 0) return longer(mind, sound).second;
    const bool sound_binds = flow_ns + vocoder_ns > front_end_ns + encoder_ns + backbone_ns;
    return sound_binds ? sound.second : mind.second;
  }
};

}  // namespace parley
