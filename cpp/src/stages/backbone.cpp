// The backbone stage over a token model: rows in, logits out, one KV cache; knows no sampling.
#include "stages/backbone.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "stages/position_gaps.h"

namespace parley {

namespace {

class BackboneState final : public StageState {
 public:
  BackboneState(std::unique_ptr<TokenRunner> own, std::size_t n_ids, std::size_t width)
      : runner(std::move(own)), rows(n_ids * width), ids(n_ids) {}

  void commit() override {
    committed_ = current;
    dirty = false;
  }

  void rollback() override {
    if (dirty) {
      runner->erase(committed_, -1);
      forget_logits();
    }
    current = committed_;
    dirty = false;
  }

  void reset() override {
    runner->erase(0, -1);
    gaps.clear();
    current = committed_ = 0;
    dirty = false;
    forget_logits();
  }

  void save(ByteWriter& to) const override {
    require_committed("save");
    to.put(current);
    to.put_all(std::span<const PositionGaps::Range>(gaps.ranges()));
    keep_logits();
    to.put_all(std::span<const float>(kept_logits_));
    runner->save(to);
  }
  void load(ByteReader& from) override {
    reset();
    const auto position = from.get<std::int64_t>();
    std::int64_t end = 0;
    for (const PositionGaps::Range& gap : from.get_some<PositionGaps::Range>(kMostGaps)) {
      ByteReader::require(gap.begin >= end && gap.end > gap.begin && gap.end <= position,
                          "gaps in their order");
      gaps.add(gap.begin, gap.end);
      end = gap.end;
    }
    kept_logits_ = from.get_some<float>(kMostLogits);
    runner->load(from);
    current = committed_ = position;
    has_logits = !kept_logits_.empty();
  }

  // Saving and forking may move the runner on to another pass, so its logits are kept here.
  void keep_logits() const {
    const std::span<const float> row = logits();
    if (kept_logits_.empty()) kept_logits_.assign(row.begin(), row.end());
  }

  // Of the last position, empty where it has none.
  std::span<const float> logits() const {
    if (!has_logits) return {};
    return kept_logits_.empty() ? runner->logits() : std::span<const float>(kept_logits_);
  }
  void forget_logits() {
    has_logits = false;
    kept_logits_.clear();
  }

  // Edits of the history are not undone, so nothing may be provisional when they come.
  void require_committed(const char* verb) const {
    if (!dirty) return;
    throw Error(std::string("[backbone.") + verb +
                "] expected a committed state, got positions fed since the last commit; call it "
                "after commit()");
  }

  std::unique_ptr<TokenRunner> runner;
  PositionGaps gaps;  // what was evicted
  std::int64_t current = 0;
  bool dirty = false;             // the cache may hold more than was committed
  bool has_logits = false;        // there are those of the last position
  std::vector<float> rows;        // [n_batch, width]
  std::vector<std::int32_t> ids;  // [n_batch]

 private:
  static constexpr std::size_t kMostGaps = 1U << 20U;
  static constexpr std::size_t kMostLogits = 1U << 24U;

  std::int64_t committed_ = 0;
  mutable std::vector<float> kept_logits_;  // instead of the runner's, where not empty
};

class TokenBackbone final : public Backbone {
 public:
  TokenBackbone(std::shared_ptr<const TokenModel> model, TokenRunnerOptions options)
      : model_(std::move(model)), options_(options) {
    if (options_.n_cells < 1 || options_.n_batch < 1) {
      throw InputError("[backbone.create] expected n_cells and n_batch of at least 1, got " +
                       std::to_string(options_.n_cells) + " and " +
                       std::to_string(options_.n_batch) + "; check the bundle's context");
    }
    options_.n_batch = std::min(options_.n_batch, options_.n_cells);
  }

  std::size_t width() const override { return static_cast<std::size_t>(model_->width()); }
  std::size_t vocab_size() const override { return static_cast<std::size_t>(model_->vocab_size()); }

  StatePtr create_state() const override {
    return std::make_unique<BackboneState>(model_->create(options_),
                                           static_cast<std::size_t>(options_.n_batch), width());
  }

  StatePtr fork(const StageState& state) const override {
    const auto& mine = state_as<const BackboneState>(state);
    mine.require_committed("fork");
    mine.keep_logits();
    auto copy = std::make_unique<BackboneState>(mine.runner->fork(), mine.ids.size(), width());
    copy->gaps = mine.gaps;
    copy->current = mine.current;
    copy->commit();
    return copy;
  }

  void feed(StageState& state, std::span<const Position> positions, bool want_logits,
            const StopFlag& stop) const override {
    auto& mine = state_as<BackboneState>(state);
    if (positions.empty()) return;
    check_ids(positions);
    check_room(mine, positions.size());
    const std::int64_t before = mine.current;
    mine.dirty = true;
    mine.forget_logits();
    try {
      const auto n_batch = static_cast<std::size_t>(options_.n_batch);
      for (std::size_t begin = 0; begin < positions.size(); begin += n_batch) {
        stop.check();
        const auto part = positions.subspan(begin, std::min(n_batch, positions.size() - begin));
        const bool is_last = begin + part.size() == positions.size();
        build_rows(mine, part);
        mine.runner->feed(std::span(mine.rows).first(part.size() * width()), mine.current,
                          want_logits && is_last, stop);
        mine.current += static_cast<std::int64_t>(part.size());
      }
    } catch (...) {
      mine.runner->erase(before, -1);
      mine.current = before;
      throw;
    }
    mine.has_logits = want_logits;
  }

  std::span<const float> logits(const StageState& state) const override {
    return state_as<const BackboneState>(state).logits();
  }

  std::int64_t next_position(const StageState& state) const override {
    return state_as<const BackboneState>(state).current;
  }

  std::int64_t held(const StageState& state) const override {
    const auto& mine = state_as<const BackboneState>(state);
    return mine.current - mine.gaps.total();
  }

  void evict(StageState& state, std::int64_t begin, std::int64_t end) const override {
    auto& mine = state_as<BackboneState>(state);
    mine.require_committed("evict");
    if (begin < 0 || end < begin || end > mine.current) {
      throw InputError("[backbone.evict] expected positions within 0 to " +
                       std::to_string(mine.current) + ", got " + std::to_string(begin) + " to " +
                       std::to_string(end) + "; evict what was fed");
    }
    if (begin == end) return;
    mine.runner->erase(begin, end);
    mine.gaps.add(begin, end);
  }

  void truncate(StageState& state, std::int64_t position) const override {
    auto& mine = state_as<BackboneState>(state);
    mine.require_committed("truncate");
    if (position < 0 || position > mine.current) {
      throw InputError("[backbone.truncate] expected a position within 0 to " +
                       std::to_string(mine.current) + ", got " + std::to_string(position) +
                       "; cut back to a position that was fed");
    }
    if (position == mine.current) return;
    mine.runner->erase(position, -1);
    mine.gaps.clip(position);
    mine.current = position;
    mine.forget_logits();
    mine.commit();
  }

  std::int64_t rebase(StageState& state, std::int64_t keep) const override {
    auto& mine = state_as<BackboneState>(state);
    mine.require_committed("rebase");
    if (mine.runner->is_shared()) return 0;
    std::int64_t closed = 0;
    // From the last gap to the first, so that a shift never moves one that is still to be closed.
    while (const auto gap = mine.gaps.last(keep)) {
      const std::int64_t by = gap->end - gap->begin;
      if (gap->end < mine.current) mine.runner->shift(gap->end, -1, -by);
      mine.gaps.drop_last(keep);
      mine.current -= by;
      mine.commit();
      closed += by;
    }
    return closed;
  }

 private:
  void check_ids(std::span<const Position> positions) const {
    for (const Position& position : positions) {
      if (position.feature != nullptr) continue;
      if (position.id >= 0 && position.id < model_->vocab_size()) continue;
      throw InputError("[backbone.feed] expected ids within 0 to " +
                       std::to_string(model_->vocab_size() - 1) + ", got " +
                       std::to_string(position.id) + "; take ids from this bundle's tokenizer");
    }
  }

  void check_room(const BackboneState& mine, std::size_t n) const {
    const std::int64_t held = mine.current - mine.gaps.total();
    if (held + static_cast<std::int64_t>(n) <= options_.n_cells) return;
    throw ContextError("[backbone.feed] expected at most " + std::to_string(options_.n_cells) +
                       " positions in the context, got " + std::to_string(held) + " held and " +
                       std::to_string(n) + " new; start a new session or use shorter turns");
  }

  void build_rows(BackboneState& mine, std::span<const Position> part) const {
    const std::span<float> rows(mine.rows);
    for (std::size_t i = 0; i < part.size();) {
      if (part[i].feature != nullptr) {
        std::copy_n(part[i].feature, width(),
                    rows.begin() + static_cast<std::ptrdiff_t>(i * width()));
        ++i;
        continue;
      }
      std::size_t n = 0;
      for (; i + n < part.size() && part[i + n].feature == nullptr; ++n) {
        mine.ids[n] = part[i + n].id;
      }
      model_->embed(std::span(mine.ids).first(n), rows.subspan(i * width(), n * width()));
      i += n;
    }
  }

  std::shared_ptr<const TokenModel> model_;
  TokenRunnerOptions options_;
};

}  // namespace

std::unique_ptr<Backbone> make_token_backbone(std::shared_ptr<const TokenModel> model,
                                              TokenRunnerOptions options) {
  return std::make_unique<TokenBackbone>(std::move(model), options);
}

}  // namespace parley
