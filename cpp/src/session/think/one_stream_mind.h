// A mind of one stream: text, codes and control are ids of one vocabulary, drawn from one head.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "session/mind.h"
#include "session/think/rules.h"
#include "session/think/sampler.h"
#include "session/think/window.h"
#include "stages/backbone.h"

namespace parley {

class OneStreamMind final : public Mind {
 public:
  struct Parts {
    std::shared_ptr<const Backbone> backbone;
    std::shared_ptr<const Rules> rules;
    std::shared_ptr<const Clock> clock;
    std::uint64_t seed = 0;
    std::size_t max_turn_ids = 8192;  // that the sampler's penalties can cover
    DrawHook on_draw;
  };
  // Reads the rules' prompt.
  explicit OneStreamMind(Parts parts);

  std::span<const Said> think(const Moment& now, Timing& timing, const StopFlag& stop) override;
  void commit() override;
  void rollback() override;
  void make_room(Floor floor, Timing& timing) override;
  void begin_turn() override;
  void abandon_turn() override;
  bool interrupt(std::size_t heard_codes) override;
  void reset() override;
  std::int64_t positions() const override;
  std::int64_t next_turn_at() const override;
  std::unique_ptr<Mind> fork() override;
  void save(ByteWriter& to) override;
  void load(ByteReader& from) override;

 private:
  // Ids that come next and were not yet read by the backbone: the last draw, or what closes a
  // reply.
  struct Unread {
    std::array<std::int32_t, 3> ids{};
    std::int32_t n = 0;

    Unread() = default;
    explicit Unread(std::int32_t id) { add(id); }
    void add(std::int32_t id) { ids[static_cast<std::size_t>(n++)] = id; }
    std::span<const std::int32_t> all() const {
      return std::span(ids).first(static_cast<std::size_t>(n));
    }
  };
  // Everything small that a step changes; a step works on a copy, commit() keeps it.
  struct Progress {
    Unread unread;
    EndReason stop = EndReason::none;    // why the next control slot is made to stop the reply
    bool drawing = false;                // the reply still grows
    bool voiced = false;                 // it began in speech
    bool voicing = false;                // and still is
    bool calling = false;                // a tool; text belongs to the call
    std::uint32_t slot = 0;              // of the plan while voicing
    std::int64_t reply_start = 0;        // position of its first id
    std::int32_t n_drawn = 0;            // ids of this reply
    std::int32_t reply_steps = 0;        // that drew for this reply
    std::uint64_t n_code_positions = 0;  // of this reply
    std::int64_t forgotten = 0;          // positions, not yet told
    std::int64_t turn_start = 0;         // what an abandoned turn goes back to
    Unread turn_start_unread;
  };

  OneStreamMind(const OneStreamMind& other);
  void draw(const Plan* plan, const Moment& now, Timing& timing, const StopFlag& stop);
  const Plan* take(std::int32_t id, const Plan* plan, const Heard& heard);  // what a drawn id does
  void begin_reply(const Heard& heard, std::int32_t id);
  void end_reply(Said::Kind kind, EndReason reason, std::int32_t id = -1);
  void close(Progress& progress, bool speech) const;
  Unread load_unread(ByteReader& from) const;
  std::int64_t cut_at(std::size_t n_codes) const;
  void feed(bool want_logits, Timing& timing, const StopFlag& stop);
  void say(Said::Kind kind, std::int32_t id = -1) { said_.push_back({.kind = kind, .id = id}); }

  Parts parts_;
  Sampler sampler_;
  StatePtr state_;                     // of the backbone
  std::optional<ChunkWindow> window_;  // where old chunks are forgotten
  Progress done_;                      // as of the last commit
  Progress work_;                      // of the step under way
  std::int64_t chunk_start_ = 0;       // position of this step's first row
  std::vector<Position> batch_;        // what the backbone reads next
  // Where each code of the reply lies, for a history that is cut.
  std::vector<std::int64_t> code_positions_;
  std::size_t step_codes_ = 0;  // drawn in this step
  std::vector<Said> said_;
};

}  // namespace parley
