// What a step tells its caller: typed events and what the step cost; knows no stage.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

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
  call,      // the model calls a tool: `text` is its name, a line break, the arguments as JSON
};

constexpr std::string_view name(EventKind kind) {
  constexpr std::array<std::string_view, 12> kNames = {
      "turn_ended", "reply_started", "text",   "audio",    "reply_ended", "think",
      "shift",      "break",         "window", "underrun", "muted",       "call"};
  return kNames[static_cast<std::size_t>(kind)];
}

enum class EndReason : std::uint8_t { none, model, break_, interrupted, max_tokens, context };
constexpr std::string_view name(EndReason reason) {
  constexpr std::array<std::string_view, 6> kNames = {
      "", "model", "break", "interrupted", "max_tokens", "context"};
  return kNames[static_cast<std::size_t>(reason)];
}

// Who has the floor. preparing: a turn's prompt is being worked on (turns only).
enum class Floor : std::uint8_t { listening, preparing, speaking, closed };
constexpr std::string_view name(Floor floor) {
  constexpr std::array<std::string_view, 4> kNames = {"listening", "preparing", "speaking",
                                                      "closed"};
  return kNames[static_cast<std::size_t>(floor)];
}

// Text and codes belong to the session and are valid until it is called again.
struct Event {
  EventKind kind = EventKind::think;
  EndReason reason = EndReason::none;  // reply_ended only
  std::int32_t token = -1;             // the id drawn, where the event is a draw
  std::int64_t sample = 0;             // place on the output timeline
  // window: positions; underrun, muted: samples; reply_ended by interruption: the place on the
  // output timeline up to which the reply was heard.
  std::int64_t count = 0;
  std::string_view text = {};                // whole characters of UTF-8
  std::span<const std::int32_t> codes = {};  // audio: their numbers in the codebook
};

// In the order in which a chunk meets them; the last two make sound.
enum class Stage : std::uint8_t { front_end, encoder, backbone, flow, vocoder };
constexpr std::array<std::string_view, 5> kStageNames = {"front_end", "encoder", "backbone", "flow",
                                                         "vocoder"};
constexpr std::size_t kStages = kStageNames.size();
constexpr std::string_view name(Stage stage) {
  return kStageNames[static_cast<std::size_t>(stage)];
}
constexpr bool makes_sound(Stage stage) {
  return stage >= Stage::flow;
}

// Nanoseconds of one step by stage; engine is what is left of the total.
struct Timing {
  std::array<std::int64_t, kStages> stage_ns{};
  std::int64_t total_ns = 0;
  std::int64_t beside_ns = 0;  // of the stages that make sound, while other stages worked

  std::int64_t& operator[](Stage stage) { return stage_ns[static_cast<std::size_t>(stage)]; }
  std::int64_t operator[](Stage stage) const { return stage_ns[static_cast<std::size_t>(stage)]; }

  // Of the stages that make sound, or of all others.
  std::int64_t side_ns(bool sound) const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < kStages; ++i)
      if (makes_sound(static_cast<Stage>(i)) == sound) sum += stage_ns[i];
    return sum;
  }
  std::int64_t engine_ns() const { return total_ns - side_ns(false) - side_ns(true) + beside_ns; }
  // The stage that bounds the step's time: the longest one, where two threads worked that of the
  // busier one.
  Stage bottleneck() const {
    const bool sound_binds = side_ns(true) > side_ns(false);
    auto longest = Stage::front_end;
    for (std::size_t i = 0; i < kStages; ++i) {
      const auto stage = static_cast<Stage>(i);
      if (beside_ns > 0 && makes_sound(stage) != sound_binds) continue;
      const bool first = beside_ns > 0 && makes_sound(longest) != sound_binds;
      if (first || stage_ns[i] > (*this)[longest]) longest = stage;
    }
    return longest;
  }
};

// Ids [begin, end).
struct IdRange {
  std::int32_t begin = 0;
  std::int32_t end = 0;
};

// One id that is drawn: from which logits `[vocab_size]`, among which ids (ascending ranges), and
// what was picked.
struct Draw {
  std::span<const float> logits;
  std::span<const IdRange> allowed;
  std::int32_t id = -1;
};

// Sees each draw; the id that it returns is taken instead. What it throws ends the step, which then
// changed nothing.
using DrawHook = std::function<std::int32_t(const Draw&)>;

}  // namespace parley
