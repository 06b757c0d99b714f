// What a bundle lays down for sessions: vocabulary, sampling, turns and duplex; plain values only.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace parley {

// Which ids mean what. Ids in [0, text_end) are text or control, ids in
// [audio_begin, audio_begin + audio_codes) are audio codes.
struct Vocabulary {
  std::int32_t text_end = 0;
  std::int32_t audio_begin = 0;
  std::int32_t audio_codes = 0;
  std::int32_t audio_placeholder = 0;  // its positions in a prompt take the encoder's features
  std::map<std::string, std::int32_t> control;  // name of every special token -> id
  // What a draw may decide beside text and audio; -1 where the bundle has no such id.
  std::int32_t think = -1;
  std::int32_t shift = -1;
  std::int32_t break_ = -1;
  std::int32_t text_pad = -1;
};

struct SamplingConfig {
  float temperature = 0.0F;         // 0: greedy
  int top_k = 0;                    // 0: all
  float top_p = 1.0F;               // 1: all
  float repetition_penalty = 1.0F;  // over this turn's ids, or all_turns'; 1: none
  float recent_penalty = 1.0F;      // again, over the last recent_window ids of the turn
  int recent_window = 0;
  int all_turns = 0;  // 1: penalties cover the ids of a whole conversation
};

// How a spoken reply lies: between begin and end some text and some audio tokens in turn, a group
// again and again, then text.
struct SpeechConfig {
  std::int32_t begin = -1;  // none: text and audio in any order
  std::int32_t end = -1;
  std::int32_t text_pad = -1;
  int text = 1;
  int audio = 4;
  bool held_to = false;  // whether draws are held to the groups, or only expected to keep them

  bool has_groups() const { return begin >= 0; }
};

// How tools are told, called and answered, as templates; empty: the model knows none. {schemas} is
// a JSON list, {name} and {arguments} are a call's, {content} is a result.
struct ToolsConfig {
  std::string schemas;
  std::string call;
  std::string output;
};

// Half-duplex: whole turns. In templates {system} and {user} stand for the text or the features,
// {tools} for what is told of tools, or nothing.
struct TurnsConfig {
  std::string first;
  std::string next;
  std::string first_text;
  std::string next_text;
  std::string between;  // two pieces of what was heard in one turn
  std::string history;  // what a finished reply becomes, {reply} its text; empty: stays as it was
  std::vector<std::int32_t> end;  // any of these ends a reply
  std::int32_t close = 0;         // ends an interrupted reply in the history
  int max_new_tokens = 2048;
  int max_tokens_per_step = 40;
  bool short_segments = false;  // a turn's last segment is encoded without its silence
  SpeechConfig speech;
  ToolsConfig tools;
  SamplingConfig first_sampling;  // of the session's first turn
  SamplingConfig sampling;
};

enum class SlotKind : std::uint8_t { text, audio, think, shift, break_, text_pad, any };

// One entry per draw: the kinds of id that the draw may give.
using SlotPlan = std::vector<std::vector<SlotKind>>;

struct DuplexPlans {
  SlotPlan listen;
  SlotPlan shift;  // drawn in SHIFT's own chunk; empty: speaking starts in the next chunk
  SlotPlan speak;
};

// Full duplex: one control slot per chunk decides who has the floor.
struct DuplexConfig {
  std::string prompt;  // {system} stands for the system prompt
  DuplexPlans plans;
  double log_floor = 1e-6;               // of a power, chunk front end
  int frame_pad = 240;                   // zeros before the first sample, at encoder_hz
  int chunk_mel_frames = 16;             // mel frames of a chunk
  std::int64_t window_positions = 4096;  // positions kept behind the system prompt
  int max_reply_chunks = 375;
  int fade_ms = 20;
  SamplingConfig sampling;
};

}  // namespace parley
