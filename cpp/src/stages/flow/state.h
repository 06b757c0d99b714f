// What the flow decoder keeps of a voice and of a stream; runs no graph.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "stages/flow/memory.h"
#include "stages/flow/window.h"

namespace parley {

// Where a reply stands. Codes older than the past are dropped, so its size does not grow.
struct ReplyCodes {
  std::uint64_t seed = 0;
  std::uint32_t number = 0;
  bool started = false;
  bool ended = false;
  std::int64_t received = 0;  // codes
  std::int64_t decoded = 0;   // codes
  std::int64_t first = 0;     // number of the oldest code kept
  std::vector<std::int32_t> codes;

  // Takes as many codes as there is room for, and returns how many.
  std::size_t append(std::span<const std::int32_t> more) {
    const std::size_t n = std::min(more.size(), codes.capacity() - codes.size());
    codes.insert(codes.end(), more.begin(), more.begin() + static_cast<std::ptrdiff_t>(n));
    received += static_cast<std::int64_t>(n);
    return n;
  }

  void drop_before(std::int64_t code) {
    if (code <= first) return;
    codes.erase(codes.begin(), codes.begin() + static_cast<std::ptrdiff_t>(code - first));
    first = code;
  }

  void begin(std::uint64_t new_seed, std::uint32_t new_number) {
    clear();
    seed = new_seed;
    number = new_number;
    started = true;
  }

  void clear() {
    codes.clear();
    received = decoded = first = 0;
    started = ended = false;
  }
};

// Latent frames of a voice. A reply begins where its latents end.
struct PromptFrames {
  std::size_t own = 0;      // of its codes
  std::size_t lead_in = 0;  // latents behind them, which reach into the reply
  std::size_t tail = 0;     // of `own`, the last ones where they have no latents: spoken first
};

inline PromptFrames prompt_frames(const Voice& voice, const FlowConfig& config) {
  const std::size_t own = voice.tokens.size() * config.frames_per_code;
  const std::size_t latents = voice.latents.size() / config.z;
  return {own, latents > own ? latents - own : 0, own > latents ? own - latents : 0};
}

// The last `prompt_codes` codes of a voice with their latents, and all that reach into the reply.
inline Voice shortened(const Voice& voice, const FlowConfig& config) {
  if (config.prompt_codes == 0 || config.prompt_codes >= voice.tokens.size()) return voice;
  const std::size_t cut = voice.tokens.size() - config.prompt_codes;
  const std::size_t values =
      std::min(cut * config.frames_per_code * config.z, voice.latents.size());
  Voice shorter;
  shorter.tokens.assign(voice.tokens.begin() + static_cast<std::ptrdiff_t>(cut),
                        voice.tokens.end());
  shorter.latents.assign(voice.latents.begin() + static_cast<std::ptrdiff_t>(values),
                         voice.latents.end());
  shorter.speaker = voice.speaker;
  return shorter;
}

// All that follows from a voice whole. Const once it is made; states share it.
struct VoiceSetup {
  std::shared_ptr<const Voice> whole;
  Voice voice;  // as much of it as replies see
  PromptFrames prompt;
  std::vector<float> modulations;            // [evaluations, M]
  std::vector<float> noise;                  // [prompt frames, z]
  std::vector<float> tail;                   // [tail, z] normalised, where the mode is cached
  std::unique_ptr<CodeMemory> codes;         // behind the prompt's, where codes are streamed
  std::shared_ptr<const PromptCache> cache;  // where the mode is cached
};

class FlowState final : public StageState {
 public:
  struct Parts {
    std::shared_ptr<const VoiceSetup> setup;
    FlowWorkspace workspace;
    std::unique_ptr<WholeRun> whole;
    std::unique_ptr<StreamMemory> stream;
    std::unique_ptr<CodeMemory> codes;
  };
  FlowState(Parts parts, const FlowConfig& config)
      : setup(std::move(parts.setup)),
        workspace(std::move(parts.workspace)),
        whole(std::move(parts.whole)),
        stream(std::move(parts.stream)),
        codes(std::move(parts.codes)),
        frames_per_code_(config.frames_per_code),
        past_codes_(static_cast<std::int64_t>(std::max<std::size_t>(config.past_codes, 1))) {
    const std::size_t kept = config.past_codes + config.run() + config.lookahead_codes;
    for (ReplyCodes* reply : {&current, &next, &committed_}) reply->codes.reserve(kept + 1);
  }

  void commit() override {
    committed_ = current;
    if (stream) {
      stream->commit(committed_.decoded * static_cast<std::int64_t>(frames_per_code_),
                     committed_.started && !committed_.ended);
    }
    if (codes) codes->tensors.commit();
  }
  void rollback() override {
    current = committed_;
    if (stream) stream->rollback();
    if (codes) codes->tensors.rollback();
  }
  void reset() override {
    current.clear();
    commit();
  }
  void save(ByteWriter& to) const override {
    to.put(committed_.seed);
    to.put(committed_.number);
    to.put_flag(committed_.started);
    to.put_flag(committed_.ended);
    for (const std::int64_t at : {committed_.received, committed_.decoded, committed_.first})
      to.put(at);
    to.put_all(std::span<const std::int32_t>(committed_.codes));
    to.put_flag(broken);
    if (stream) stream->save(to);
    if (codes) codes->tensors.save(to);
  }
  void load(ByteReader& from) override {
    current.clear();
    current.seed = from.get<std::uint64_t>();
    current.number = from.get<std::uint32_t>();
    current.started = from.get_flag();
    current.ended = from.get_flag();
    for (std::int64_t* at : {&current.received, &current.decoded, &current.first})
      *at = from.get<std::int64_t>();
    const auto waiting = from.get_some<std::int32_t>(current.codes.capacity());
    current.codes.assign(waiting.begin(), waiting.end());
    ByteReader::require(
        current.decoded >= 0 && current.decoded <= current.received && current.first >= 0 &&
            current.first <= std::max<std::int64_t>(0, current.decoded - past_codes_) &&
            current.received < ByteReader::kMostCounted &&
            current.received - current.first == static_cast<std::int64_t>(waiting.size()),
        "a reply's codes that make sense");
    broken = from.get_flag() || broken;
    if (stream) stream->load(from);
    if (codes) codes->tensors.load(from);
    committed_ = current;
  }
  void begin(std::uint64_t seed, std::uint32_t reply) {
    current.begin(seed, reply);
    if (stream) stream->begin(std::exchange(broken, false));
    if (codes) codes->tensors.take(setup->codes->tensors);
  }

  const std::shared_ptr<const VoiceSetup> setup;
  FlowWorkspace workspace;
  const std::unique_ptr<WholeRun> whole;       // where the mode is window
  const std::unique_ptr<StreamMemory> stream;  // where the mode is cached
  const std::unique_ptr<CodeMemory> codes;     // where codes are streamed
  ReplyCodes current;
  ReplyCodes next;      // what a push works on; it becomes `current` only where the push succeeds
  bool broken = false;  // a latent was not a number

 private:
  ReplyCodes committed_;
  std::size_t frames_per_code_;
  std::int64_t past_codes_;  // that a chunk's own codes come with
};

}  // namespace parley
