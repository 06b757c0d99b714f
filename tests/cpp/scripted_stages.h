// Stages that follow a script or a formula, so that every turn transition can be played without
// models.
#pragma once
#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "parley/errors.hpp"
#include "session/parts.h"

namespace scripted {

using namespace parley;

// Ids: 0..99 text, 100..109 control, 110..209 audio codes.
constexpr std::int32_t kThink = 100;
constexpr std::int32_t kShift = 101;
constexpr std::int32_t kBreak = 102;
constexpr std::int32_t kPad = 103;
constexpr std::int32_t kEnd = 104;
constexpr std::int32_t kPlaceholder = 105;
constexpr std::int32_t kAudio = 110;
constexpr std::int32_t kVocab = 210;
constexpr std::size_t kWidth = 4;

// Answers draw n with script[n], and with `otherwise` behind its end. Remembers what it was fed.
class Backbone final : public parley::Backbone {
 public:
  struct State final : StageState {
    struct Row {
      std::int64_t position;
      std::int32_t id;  // -1: a feature
      float feature;    // its first number
    };
    std::vector<Row> rows;
    std::int64_t next = 0;
    std::size_t draws = 0;
    std::size_t committed_rows = 0;
    std::int64_t committed_next = 0;
    std::size_t committed_draws = 0;
    std::vector<float> logits = std::vector<float>(kVocab);
    State() { rows.reserve(100000); }
    void commit() override {
      committed_rows = rows.size();
      committed_next = next;
      committed_draws = draws;
    }
    void rollback() override {
      rows.resize(committed_rows);
      next = committed_next;
      draws = committed_draws;
    }
    void reset() override {
      rows.clear();
      next = 0;
      draws = 0;
      commit();
    }
    void save(ByteWriter& to) const override {
      to.put_all(std::span<const Row>(rows).first(committed_rows));
      to.put(committed_next);
      to.put(committed_draws);
      to.put_all(std::span<const float>(logits));
    }
    void load(ByteReader& from) override {
      const auto saved = from.get_some<Row>(rows.capacity());
      rows.assign(saved.begin(), saved.end());
      next = from.get<std::int64_t>();
      draws = from.get<std::size_t>();
      from.get_all(std::span<float>(logits));
      commit();
    }
  };

  std::vector<std::int32_t> script;
  std::int32_t otherwise = kThink;
  std::function<void()> on_feed;    // may throw, to fail a step
  std::function<void()> on_forget;  // the same for evict and rebase
  struct Pass {
    std::size_t positions;
    bool logits;
  };
  mutable std::vector<Pass> passes;
  mutable State* last = nullptr;       // the state made last, for tests to look into
  mutable State* last_used = nullptr;  // the one fed last
  // What that one held then: it may be gone, where a fork took its place.
  bool keeps_fed = false;
  mutable std::vector<State::Row> fed_last;
  mutable std::vector<std::pair<std::int64_t, std::int64_t>> evicted;
  mutable int rebases = 0;

  std::size_t width() const override { return kWidth; }
  std::size_t vocab_size() const override { return kVocab; }
  StatePtr create_state() const override {
    auto state = std::make_unique<State>();
    last = state.get();
    return state;
  }
  StatePtr fork(const StageState& state) const override {
    auto copy = std::make_unique<State>(static_cast<const State&>(state));
    copy->rows.reserve(100000);
    copy->rollback();
    return copy;
  }
  void feed(StageState& s, std::span<const Position> positions, bool want_logits,
            const StopFlag& stop) const override {
    auto& state = static_cast<State&>(s);
    last_used = &state;
    stop.check();
    if (on_feed) on_feed();
    passes.push_back({positions.size(), want_logits});
    for (const Position& p : positions)
      state.rows.push_back({state.next++, p.feature != nullptr ? -1 : p.id,
                            p.feature != nullptr ? *p.feature : 0.0F});
    if (keeps_fed) fed_last = state.rows;
    if (!want_logits) return;
    std::fill(state.logits.begin(), state.logits.end(), 0.0F);
    const std::int32_t id = state.draws < script.size() ? script[state.draws] : otherwise;
    state.logits[static_cast<std::size_t>(id)] = 10.0F;
    ++state.draws;
  }
  std::span<const float> logits(const StageState& s) const override {
    return static_cast<const State&>(s).logits;
  }
  std::int64_t next_position(const StageState& s) const override {
    return static_cast<const State&>(s).next;
  }
  std::int64_t held(const StageState& s) const override {
    return static_cast<std::int64_t>(static_cast<const State&>(s).rows.size());
  }
  void evict(StageState& s, std::int64_t begin, std::int64_t end) const override {
    auto& state = static_cast<State&>(s);
    if (on_forget) on_forget();
    std::erase_if(state.rows, [&](const State::Row& row) {
      return row.position >= begin && row.position < end;
    });
    evicted.emplace_back(begin, end);
    state.commit();
  }
  void truncate(StageState& s, std::int64_t position) const override {
    auto& state = static_cast<State&>(s);
    std::erase_if(state.rows, [&](const State::Row& row) { return row.position >= position; });
    state.next = position;
    state.commit();
  }
  std::int64_t rebase(StageState& s, std::int64_t keep) const override {
    auto& state = static_cast<State&>(s);
    if (on_forget) on_forget();
    std::int64_t to = keep;
    for (State::Row& row : state.rows)
      if (row.position >= keep) row.position = to++;
    const std::int64_t by = state.next - to;
    state.next = to;
    state.commit();
    ++rebases;
    return by;
  }
  std::vector<std::int32_t> fed() const {
    std::vector<std::int32_t> ids;
    for (const State::Row& row : keeps_fed ? fed_last : last->rows) ids.push_back(row.id);
    return ids;
  }
};

struct NoState final : StageState {
  void commit() override {}
  void rollback() override {}
  void reset() override {}
  void save(ByteWriter&) const override {}
  void load(ByteReader&) override {}
};

// A feature is the sum of its log-mel frames; a whole segment gives as many rows as it has chunks.
class Encoder final : public parley::Encoder {
 public:
  mutable int segments = 0;
  mutable std::vector<std::size_t> mel_frames;  // of each segment
  std::function<void()> on_segment;             // may throw, to fail
  std::size_t width() const override { return kWidth; }
  bool has_short_form() const override { return true; }
  std::size_t segment_features(std::size_t n) const override { return (n + 15) / 16; }
  void encode_segment(std::span<const float> log_mel, std::span<float> features,
                      const StopFlag& stop) const override {
    stop.check();
    if (on_segment) on_segment();
    ++segments;
    mel_frames.push_back(log_mel.size() / 128);
    const float sum = std::accumulate(log_mel.begin(), log_mel.end(), 0.0F);
    for (std::size_t i = 0; i < features.size(); ++i)
      features[i] = sum + static_cast<float>(i / kWidth);
  }
  StatePtr create_state() const override { return std::make_unique<NoState>(); }
  void encode_chunk(StageState&, std::span<const float> log_mel, std::span<float> feature,
                    const StopFlag&) const override {
    float sum = 0;
    for (float v : log_mel) sum += v;
    std::fill(feature.begin(), feature.end(), sum);
  }
};

// Code c gives frames_per_code latent frames of value c + 1, after the look-ahead.
class FlowDecoder final : public parley::FlowDecoder {
 public:
  struct State final : StageState {
    std::array<float, 64> waiting{};
    std::size_t n = 0;
    std::array<float, 64> committed{};
    std::size_t n_committed = 0;
    void commit() override {
      committed = waiting;
      n_committed = n;
    }
    void rollback() override {
      waiting = committed;
      n = n_committed;
    }
    void reset() override {
      n = 0;
      commit();
    }
    void save(ByteWriter& to) const override {
      to.put_all(std::span<const float>(committed).first(n_committed));
    }
    void load(ByteReader& from) override {
      const auto saved = from.get_some<float>(waiting.size());
      n = saved.size();
      std::copy(saved.begin(), saved.end(), waiting.begin());
      commit();
    }
  };
  explicit FlowDecoder(std::size_t lookahead = 0, std::size_t skip = 0) : skip_(skip) {
    shape_.z = 2;
    shape_.lookahead_codes = lookahead;
  }
  std::function<void()> on_push;
  float scale = 1.0F;    // NaN makes the samples bad
  std::size_t tail = 0;  // latent frames of value -1
  const FlowShape& shape() const override { return shape_; }
  StatePtr create_state(std::shared_ptr<const Voice>, const SetupProgress&) const override {
    return std::make_unique<State>();
  }
  void begin_reply(StageState& s, std::uint64_t, std::uint32_t) const override {
    static_cast<State&>(s).n = 0;
    first_ = true;
  }
  std::size_t tail_frames(const Voice&) const override { return tail; }
  Frames push(StageState& s, std::span<const std::int32_t> codes, bool last,
              std::span<float> latents, const StopFlag& stop) const override {
    auto& state = static_cast<State&>(s);
    stop.check();
    if (on_push) on_push();
    for (std::int32_t code : codes) state.waiting[state.n++] = static_cast<float>(code + 1);
    const std::size_t keep = last ? 0 : std::min(state.n, shape_.lookahead_codes);
    const std::size_t out = state.n - keep;
    std::size_t at = first_ && out > 0 ? tail * shape_.z : 0;
    std::fill_n(latents.begin(), at, -1.0F);
    for (std::size_t i = 0; i < out; ++i)
      for (std::size_t f = 0; f < shape_.frames_per_code * shape_.z; ++f)
        latents[at++] = state.waiting[i] * scale;
    std::copy(state.waiting.begin() + static_cast<std::ptrdiff_t>(out),
              state.waiting.begin() + static_cast<std::ptrdiff_t>(state.n), state.waiting.begin());
    state.n = keep;
    Frames frames{at / shape_.z, first_ && out > 0 ? skip_ : 0};
    if (out > 0) first_ = false;
    return frames;
  }

 private:
  FlowShape shape_;
  std::size_t skip_;
  mutable bool first_ = true;
};

// A latent frame of value v gives its samples v / 1000, after the look-ahead.
class Vocoder final : public parley::Vocoder {
 public:
  using State = FlowDecoder::State;
  explicit Vocoder(std::size_t lookahead = 0) {
    config_.z = 2;
    config_.lookahead_frames = lookahead;
  }
  const VocoderConfig& config() const override { return config_; }
  StatePtr create_state() const override { return std::make_unique<State>(); }
  using parley::Vocoder::begin_reply;
  void begin_reply(StageState& s, std::uint64_t, std::uint32_t) const override {
    static_cast<State&>(s).n = 0;
  }
  std::size_t push(StageState& s, std::span<const float> latents, bool last,
                   std::span<float> samples, const StopFlag&) const override {
    auto& state = static_cast<State&>(s);
    for (std::size_t i = 0; i < latents.size(); i += config_.z)
      state.waiting[state.n++] = latents[i];
    const std::size_t keep = last ? 0 : std::min(state.n, config_.lookahead_frames);
    const std::size_t out = state.n - keep;
    std::size_t at = 0;
    for (std::size_t i = 0; i < out; ++i)
      for (std::size_t k = 0; k < config_.samples_per_latent; ++k)
        samples[at++] = state.waiting[i] / 1000.0F;
    std::copy(state.waiting.begin() + static_cast<std::ptrdiff_t>(out),
              state.waiting.begin() + static_cast<std::ptrdiff_t>(state.n), state.waiting.begin());
    state.n = keep;
    return at;
  }

 private:
  VocoderConfig config_;
};

// One id per byte; "<105>" style names are not needed, since templates here hold plain letters.
class Tokens final : public TokenModel {
 public:
  std::int32_t vocab_size() const override { return kVocab; }
  std::int32_t width() const override { return kWidth; }
  std::unique_ptr<TokenRunner> create(const TokenRunnerOptions&) const override { return nullptr; }
  void embed(std::span<const std::int32_t>, std::span<float>) const override {}
  std::vector<std::int32_t> tokenize(std::string_view text, bool) const override {
    std::vector<std::int32_t> ids;
    for (char c : text) ids.push_back(c - 'A');
    return ids;
  }
  std::size_t piece(std::int32_t id, std::span<char> bytes) const override {
    if (id >= 100) return 0;
    bytes[0] = static_cast<char>('A' + id);
    return 1;
  }
};

// A clock that moves by one microsecond at each look.
class Clock final : public parley::Clock {
 public:
  std::int64_t now_ns() const override { return now_ += 1000; }

 private:
  mutable std::int64_t now_ = 0;
};

struct Stages {
  std::shared_ptr<Encoder> encoder = std::make_shared<Encoder>();
  std::shared_ptr<Backbone> backbone = std::make_shared<Backbone>();
  std::shared_ptr<FlowDecoder> flow;
  std::shared_ptr<Vocoder> vocoder;

  explicit Stages(std::size_t flow_lookahead = 0, std::size_t vocoder_lookahead = 0,
                  std::size_t skip = 0)
      : flow(std::make_shared<FlowDecoder>(flow_lookahead, skip)),
        vocoder(std::make_shared<Vocoder>(vocoder_lookahead)) {}

  SessionParts parts() const {
    SessionParts parts;
    parts.encoder = encoder;
    parts.backbone = backbone;
    parts.flow = flow;
    parts.vocoder = vocoder;
    parts.tokens = std::make_shared<Tokens>();
    parts.voice = std::make_shared<Voice>();
    parts.clock = std::make_shared<Clock>();
    parts.vocabulary = {110, kAudio, 100, kPlaceholder, {}, kThink, kShift, kBreak, kPad};
    parts.vocabulary.control = {{"think", kThink}, {"shift", kShift},
                                {"break", kBreak}, {"pad", kPad},
                                {"end", kEnd},     {"placeholder", kPlaceholder}};
    parts.system = "SYS";
    return parts;
  }

  SessionParts duplex() const {
    SessionParts all = parts();
    const SlotPlan audio(4, {SlotKind::audio});
    DuplexConfig config;
    config.prompt = "P{system}";
    config.plans.listen = {{SlotKind::think, SlotKind::shift}};
    config.plans.shift = {{SlotKind::text, SlotKind::text_pad}};
    config.plans.speak = {{SlotKind::break_, SlotKind::text, SlotKind::text_pad}};
    for (SlotPlan* plan : {&config.plans.shift, &config.plans.speak})
      plan->insert(plan->end(), audio.begin(), audio.end());
    config.window_positions = 100;
    all.duplex = config;
    return all;
  }

  SessionParts turns() const {
    SessionParts all = parts();
    TurnsConfig config;
    config.first = "F{system}G{user}H";
    config.next = "N{user}H";
    config.first_text = "F{system}T{user}H";
    config.next_text = "T{user}H";
    config.end = {kEnd};
    config.close = kEnd;
    config.max_new_tokens = 200;
    all.turns = config;
    return all;
  }
};

}  // namespace scripted
