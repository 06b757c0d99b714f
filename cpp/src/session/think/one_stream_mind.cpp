// Draws by the rules' plans from one head and keeps one history; knows no sound and no event.
#include "session/think/one_stream_mind.h"

#include <algorithm>
#include <utility>

namespace parley {

namespace {

constexpr std::size_t kOthersSaid = 8;  // in a step, beside what is drawn

std::size_t most_said(const Rules& rules) {
  const std::size_t planned = std::max(rules.listening.slots.size(), rules.speaking.slots.size()) +
                              rules.taking.slots.size();
  return planned + static_cast<std::size_t>(rules.max_draws) + kOthersSaid;
}

// Every draw takes a position, so what the sampler has room for bounds a reply too.
std::size_t most_codes(const Rules& rules, std::size_t max_turn_ids) {
  if (rules.reads_stop) return 0;
  return rules.max_reply_ids > 0
             ? std::min(static_cast<std::size_t>(rules.max_reply_ids), max_turn_ids) + 1
             : max_turn_ids + 1;
}

}  // namespace

OneStreamMind::OneStreamMind(Parts parts)
    : parts_(std::move(parts)),
      sampler_(parts_.backbone->vocab_size(), parts_.max_turn_ids, parts_.seed),
      state_(parts_.backbone->create_state()) {
  const Rules& rules = *parts_.rules;
  code_positions_.resize(most_codes(rules, parts_.max_turn_ids));
  batch_.reserve(8);
  said_.reserve(most_said(rules));
  for (std::int32_t id : rules.prompt) batch_.push_back({id, nullptr});
  if (!batch_.empty()) {
    Timing unread;
    feed(false, unread, StopFlag());
    state_->commit();
  }
  const std::int64_t keep = parts_.backbone->held(*state_);
  if (rules.window > 0) window_.emplace(keep, rules.window);
  sampler_.begin_turn(rules.sampling, {});
  sampler_.commit();
}

std::span<const Said> OneStreamMind::think(const Moment& now, Timing& timing,
                                           const StopFlag& stop) {
  said_.clear();
  work_ = done_;
  if (const std::int64_t n = std::exchange(work_.forgotten, 0); n > 0)
    said_.push_back({.kind = Said::Kind::forgot, .count = n});
  Floor floor = now.floor;
  if (floor == Floor::preparing && now.heard.complete) {
    begin_reply(now.heard, -1);
    floor = Floor::speaking;
  }
  const bool draws = floor != Floor::speaking || work_.drawing;
  const Plan* plan = draws ? parts_.rules->plan(floor, work_.voicing) : nullptr;
  if (plan == nullptr && now.heard.positions.empty()) return said_;

  chunk_start_ = parts_.backbone->next_position(*state_);
  batch_.clear();
  // The last draw is read together with what was heard since: one pass less per chunk.
  for (const std::int32_t id : work_.unread.all()) batch_.push_back({id, nullptr});
  batch_.insert(batch_.end(), now.heard.positions.begin(), now.heard.positions.end());
  work_.unread = {};
  if (plan == nullptr) {
    feed(false, timing, stop);
  } else {
    if (floor == Floor::speaking) ++work_.reply_steps;
    draw(plan, now, timing, stop);
  }
  return said_;
}

void OneStreamMind::draw(const Plan* plan, const Moment& now, Timing& timing,
                         const StopFlag& stop) {
  const Rules& rules = *parts_.rules;
  if (rules.max_reply_steps > 0 && work_.drawing && work_.reply_steps > rules.max_reply_steps)
    work_.stop = EndReason::max_tokens;
  std::size_t slot = plan == &rules.voiced ? work_.slot : 0;
  step_codes_ = 0;
  for (int n = 0; plan != nullptr; ++n) {
    const bool enough = plan->repeats ? step_codes_ >= now.codes_wanted || n >= rules.max_draws
                                      : slot >= plan->slots.size();
    if (enough) return;
    const auto reads = static_cast<std::int64_t>(batch_.size());
    if (!window_ && rules.context > 0 && positions() + reads > rules.context) {
      work_.unread = Unread(batch_.back().id);
      end_reply(Said::Kind::end, EndReason::context);
      return;
    }
    const bool forced = work_.stop != EndReason::none;
    feed(!forced, timing, stop);
    const Slot& ids = plan->slots[slot % plan->slots.size()];
    const std::int32_t id =
        forced ? rules.stop_id
               : draw_from(sampler_, parts_.backbone->logits(*state_), ids, parts_.on_draw);
    sampler_.accept(id);
    work_.unread = Unread(id);
    const Plan* next = take(id, plan, now.heard);
    slot = next == plan ? slot + 1 : 0;
    if (next == &rules.voiced)
      work_.slot = static_cast<std::uint32_t>(slot % rules.voiced.slots.size());
    plan = next;
    batch_.assign(1, {id, nullptr});
  }
}

// Returns the plan to go on with: the same one, another one from its start, or null for none.
const Plan* OneStreamMind::take(std::int32_t id, const Plan* plan, const Heard& heard) {
  const Rules& rules = *parts_.rules;
  if (work_.n_drawn++ == 0) work_.reply_start = parts_.backbone->next_position(*state_);
  switch (rules.meaning[static_cast<std::size_t>(id)]) {
    case Meaning::think:
      say(Said::Kind::listen, id);
      return nullptr;
    case Meaning::shift:
      begin_reply(heard, id);
      work_.reply_steps = 1;
      return rules.taking.slots.empty() ? nullptr : &rules.taking;
    case Meaning::break_:
      end_reply(Said::Kind::give_back,
                work_.stop != EndReason::none ? work_.stop : EndReason::break_, id);
      return nullptr;
    case Meaning::end:
      end_reply(Said::Kind::end, EndReason::model);
      return nullptr;
    case Meaning::speech_end:
      if (!std::exchange(work_.voicing, false)) break;
      say(Said::Kind::speech_end, id);
      plan = &rules.speaking;
      break;
    case Meaning::code:
      if (!work_.voicing) break;
      if (!code_positions_.empty())
        code_positions_[work_.n_code_positions++] = parts_.backbone->next_position(*state_);
      say(Said::Kind::code, id - rules.first_code);
      ++step_codes_;
      break;
    case Meaning::text:
      say(work_.calling ? Said::Kind::call_text : Said::Kind::text, id);
      break;
    case Meaning::call_begin:
      work_.calling = true;
      break;
    case Meaning::call_end:
      if (std::exchange(work_.calling, false)) say(Said::Kind::call);
      break;
    case Meaning::nothing:
      break;
  }
  if (rules.max_reply_ids > 0 && work_.n_drawn >= rules.max_reply_ids) {
    if (rules.groups.codes > 0) close(work_, work_.voicing);
    end_reply(Said::Kind::end, EndReason::max_tokens);
    return nullptr;
  }
  return plan;
}

void OneStreamMind::begin_reply(const Heard& heard, std::int32_t id) {
  const Rules& rules = *parts_.rules;
  work_.drawing = true;
  work_.n_drawn = 0;
  work_.reply_steps = 0;
  work_.n_code_positions = 0;
  work_.slot = 0;
  work_.calling = false;
  work_.voiced = work_.voicing =
      rules.groups.begin < 0 || (!heard.ids.empty() && heard.ids.back() == rules.groups.begin);
  const SamplingConfig& sampling = heard.first_turn ? rules.first_sampling : rules.sampling;
  if (sampling.all_turns != 0) {
    sampler_.go_on(sampling, heard.ids);
  } else {
    sampler_.begin_turn(sampling, heard.ids);
  }
  say(Said::Kind::take_floor, id);
}

void OneStreamMind::end_reply(Said::Kind kind, EndReason reason, std::int32_t id) {
  work_.drawing = false;
  work_.stop = EndReason::none;
  said_.push_back({kind, reason, id});
}

void OneStreamMind::feed(bool want_logits, Timing& timing, const StopFlag& stop) {
  const Stopwatch watch(*parts_.clock, timing[Stage::backbone]);
  parts_.backbone->feed(*state_, batch_, want_logits, stop);
}

void OneStreamMind::commit() {
  state_->commit();
  sampler_.commit();
  if (window_) window_->add_chunk(chunk_start_);
  done_ = work_;
}

void OneStreamMind::rollback() {
  state_->rollback();
  sampler_.rollback();
}

// Duplex has no end: the oldest chunks go, whole ones, and positions start over while listening.
void OneStreamMind::make_room(Floor floor, Timing& timing) {
  if (!window_) return;
  const Stopwatch watch(*parts_.clock, timing[Stage::backbone]);
  done_.forgotten +=
      slide(*window_, *parts_.backbone, *state_, parts_.rules->context, floor == Floor::listening);
}

void OneStreamMind::begin_turn() {
  done_.turn_start = parts_.backbone->next_position(*state_);
  done_.turn_start_unread = done_.unread;
}

void OneStreamMind::abandon_turn() {
  parts_.backbone->truncate(*state_, done_.turn_start);
  done_.unread = done_.turn_start_unread;
}

void OneStreamMind::reset() {
  parts_.backbone->truncate(*state_, static_cast<std::int64_t>(parts_.rules->prompt.size()));
  if (window_) window_->clear();
  done_ = {};
  sampler_.reset();
  sampler_.begin_turn(parts_.rules->sampling, {});
  sampler_.commit();
}

std::int64_t OneStreamMind::positions() const {
  return parts_.backbone->held(*state_);
}

std::int64_t OneStreamMind::next_turn_at() const {
  return positions() + done_.unread.n;
}

}  // namespace parley
