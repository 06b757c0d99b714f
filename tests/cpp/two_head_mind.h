// A mind of two heads over scripted logits: per step of the first a text id, then a group of codes
// from a second one that has a cache of its own. It shows that the seam holds for such families.
#pragma once
#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "scripted_stages.h"
#include "session/mind.h"

namespace scripted {

constexpr std::int32_t kGroup = 5;             // codes per step of the first head
constexpr std::int32_t kSilentCode = 99;       // ends the speech
constexpr std::int32_t kFirstHeadStop = kEnd;  // ends the reply

class TwoHeadMind final : public Mind {
 public:
  // The second head's script draws codes as ids from kAudio on.
  TwoHeadMind(std::shared_ptr<const parley::Backbone> text,
              std::shared_ptr<const parley::Backbone> speech)
      : text_(std::move(text)),
        speech_(std::move(speech)),
        text_state_(text_->create_state()),
        speech_state_(speech_->create_state()) {}

  std::span<const Said> think(const Moment& now, Timing&, const StopFlag& stop) override {
    said_.clear();
    work_ = done_;
    bool speaking = now.floor == Floor::speaking;
    if (now.floor == Floor::preparing && now.heard.complete) {
      work_ = {.pending = work_.pending, .drawing = true, .speech = true};
      said_.push_back({.kind = Said::Kind::take_floor});
      speaking = true;
    }
    read(now.heard.positions, stop);
    if (!done_.drawing && work_.drawing) work_.begin = next();
    std::size_t codes = 0;
    while (speaking && work_.drawing && codes < now.codes_wanted) {
      step(stop);
      codes += kGroup;
      if (!work_.speech) codes = now.codes_wanted;  // text alone: one id a step
    }
    return said_;
  }
  void commit() override {
    text_state_->commit();
    speech_state_->commit();
    done_ = work_;
  }
  void rollback() override {
    text_state_->rollback();
    speech_state_->rollback();
  }

  void make_room(Floor, Timing&) override {}
  void begin_turn() override {
    mark_ = next();
    mark_progress_ = done_;
  }
  void abandon_turn() override {
    cut(mark_);
    done_ = mark_progress_;
  }
  bool interrupt(std::size_t heard_codes) override {
    const auto steps = static_cast<std::int64_t>(heard_codes) / kGroup;
    if (const std::int64_t at = done_.begin + steps; at < next()) cut(at);
    done_ = {.pending = kFirstHeadStop};
    return true;
  }
  void reset() override {
    cut(0);
    done_ = {};
  }
  std::int64_t positions() const override { return text_->held(*text_state_); }
  std::int64_t next_turn_at() const override { return positions() + (done_.pending >= 0 ? 1 : 0); }

  std::unique_ptr<Mind> fork() override {
    auto copy = std::make_unique<TwoHeadMind>(text_, speech_);
    copy->text_state_ = text_->fork(*text_state_);
    copy->speech_state_ = speech_->fork(*speech_state_);
    copy->done_ = done_;
    copy->mark_ = mark_;
    copy->mark_progress_ = mark_progress_;
    copy->last_ = last_;
    return copy;
  }
  void save(ByteWriter& to) override {
    to.put(done_);
    text_state_->save(to);
    speech_state_->save(to);
  }
  void load(ByteReader& from) override {
    done_ = from.get<Progress>();
    text_state_->load(from);
    speech_state_->load(from);
  }

  // Positions of the second head, which are kGroup for one of the first.
  std::int64_t speech_positions() const { return speech_->held(*speech_state_); }

 private:
  struct Progress {
    std::int32_t pending = -1;
    bool drawing = false;
    bool speech = false;
    std::int64_t begin = 0;  // of the reply, in the first cache
  };

  std::int64_t next() const { return text_->next_position(*text_state_); }
  void cut(std::int64_t position) {
    text_->truncate(*text_state_, position);
    speech_->truncate(*speech_state_, position * kGroup);
  }
  // Both heads see every position.
  void feed(std::span<const Position> positions, bool draws, const StopFlag& stop) {
    text_->feed(*text_state_, positions, draws, stop);
    for (const Position& position : positions)
      for (std::int32_t i = 0; i < kGroup; ++i)
        speech_->feed(*speech_state_, {&position, 1}, draws, stop);
  }
  void read(std::span<const Position> heard, const StopFlag& stop) {
    if (heard.empty()) return;
    std::vector<Position> batch;
    if (work_.pending >= 0) batch.push_back({std::exchange(work_.pending, -1), nullptr});
    batch.insert(batch.end(), heard.begin(), heard.end() - 1);
    feed(batch, false, stop);
    last_ = heard.back();
  }
  static std::int32_t likeliest(std::span<const float> logits) {
    return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) -
                                     logits.begin());
  }
  void step(const StopFlag& stop) {
    const Position input = work_.pending >= 0 ? Position{work_.pending, nullptr} : last_;
    text_->feed(*text_state_, {&input, 1}, true, stop);
    work_.pending = likeliest(text_->logits(*text_state_));
    const bool over = work_.pending == kFirstHeadStop;
    if (!over) said_.push_back({.kind = Said::Kind::text, .id = work_.pending});
    for (std::int32_t i = 0; i < kGroup; ++i) {
      speech_->feed(*speech_state_, {&input, 1}, true, stop);
      const std::int32_t code = likeliest(speech_->logits(*speech_state_)) - kAudio;
      if (!work_.speech) continue;
      if (code == kSilentCode) {
        work_.speech = false;
        said_.push_back({.kind = Said::Kind::speech_end});
      } else {
        said_.push_back({.kind = Said::Kind::code, .id = code});
      }
    }
    if (!over) return;
    work_.drawing = false;
    said_.push_back({.kind = Said::Kind::end, .reason = EndReason::model});
  }

  std::shared_ptr<const parley::Backbone> text_;
  std::shared_ptr<const parley::Backbone> speech_;
  StatePtr text_state_;
  StatePtr speech_state_;
  Progress done_;
  Progress work_;
  std::int64_t mark_ = 0;
  Progress mark_progress_;
  Position last_;
  std::vector<Said> said_;
};

}  // namespace scripted
