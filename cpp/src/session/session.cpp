// The chunk loop: every conversation, live, offline or benchmarked, goes through Session::step.
#include "session/session.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "session/listen/duplex_listener.h"

namespace parley {

namespace {

constexpr std::size_t kMaxPiece = 512;  // bytes of a token's text
constexpr std::size_t kTurnsFadeMs = 20;

std::size_t fade_samples(const SessionParts& parts) {
  const std::size_t ms =
      parts.duplex ? static_cast<std::size_t>(parts.duplex->fade_ms) : kTurnsFadeMs;
  return ms * static_cast<std::size_t>(parts.output_hz) / 1000;
}

std::size_t max_turn_ids(const SessionParts& parts) {
  return static_cast<std::size_t>(parts.context) + 1;
}

}  // namespace

Session::Impl::Impl(SessionParts parts)
    : parts_(std::move(parts)),
      sampler_(parts_.backbone->vocab_size(), max_turn_ids(parts_), parts_.seed) {
  const auto vocab_size = static_cast<std::int32_t>(parts_.backbone->vocab_size());
  ListenerParts ears{parts_.encoder,   parts_.tokens,        parts_.clock,
                     parts_.front_end, parts_.chunk_samples, parts_.overlap};
  if (parts_.duplex) {
    policy_ = std::make_unique<DuplexPolicy>(*parts_.duplex, parts_.vocabulary, vocab_size);
    listener_ = std::make_unique<DuplexListener>(std::move(ears));
  } else {
    policy_ = std::make_unique<TurnsPolicy>(*parts_.turns, parts_.vocabulary, vocab_size);
    auto turns = std::make_unique<TurnsListener>(
        std::move(ears), *parts_.turns, parts_.system, parts_.vocabulary.audio_placeholder,
        static_cast<std::size_t>(parts_.context), parts_.prefill_budget);
    turns_ = turns.get();
    listener_ = std::move(turns);
    // Every draw takes a position, so the context bounds a reply too.
    code_positions_.resize(
        std::min(static_cast<std::size_t>(parts_.turns->max_new_tokens), max_turn_ids(parts_)) + 1);
  }
  speech_.emplace(Speech::Parts{parts_.flow, parts_.vocoder, parts_.voice, parts_.clock,
                                parts_.out_chunk_samples, fade_samples(parts_),
                                parts_.codes_per_chunk * 2, parts_.voice_progress});
  delay_ = speech_->delay();
  if (parts_.overlap) {
    delay_ += parts_.out_chunk_samples;
    sound_thread_.emplace([this] { speech_->run(done_.job, sound_timing_, stop_); });
  }
  input_delay_ = listener_->delay_samples();
  backbone_state_ = parts_.backbone->create_state();
  events_.reserve(max_events());
  batch_.reserve(8);
  if (parts_.duplex) {
    // The system prompt is read once; a new conversation goes back to its end.
    for (std::int32_t id : expand_template(*parts_.tokens, parts_.duplex->prompt, parts_.system, {},
                                           parts_.vocabulary.audio_placeholder, 0))
      batch_.push_back({id, nullptr});
    feed(false);
    backbone_state_->commit();
    window_.emplace(parts_.backbone->held(*backbone_state_), parts_.duplex->window_positions);
  }
  fresh_start();
}

Step Session::Impl::step(std::span<const float> in, std::span<float> out) {
  const std::unique_lock<std::mutex> lock = enter("step");
  check_input(in, out);
  const std::int64_t start = parts_.clock->now_ns();
  events_.clear();
  timing_ = {};
  forget_old_chunks();
  apply_interrupt();
  work_ = done_;
  try {
    stop_.check();
    begin_sound();                                        // with overlap: the last step's codes
    listener_->take_in(in, work_.floor, timing_, stop_);  // take in, encode
    think();                                              // decide, think
    speak();                                              // what is to be heard
    finish_sound();                                       // codes to samples
  } catch (...) {
    rollback();
    throw;
  }
  commit(out);
  timing_.total_ns = parts_.clock->now_ns() - start;
  return {events_, timing_, done_.floor, done_.index - 1};
}

void Session::Impl::check_input(std::span<const float> in, std::span<float> out) const {
  if (in.size() != parts_.chunk_samples || out.size() != parts_.out_chunk_samples) {
    throw InputError("[session.step] expected " + std::to_string(parts_.chunk_samples) +
                     " samples in and " + std::to_string(parts_.out_chunk_samples) + " out, got " +
                     std::to_string(in.size()) + " and " + std::to_string(out.size()) +
                     "; do feed whole chunks");
  }
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (std::isfinite(in[i])) continue;
    throw InputError("[session.step] expected finite samples, got " + std::to_string(in[i]) +
                     " at sample " + std::to_string(i) + "; do mend the source or feed silence");
  }
}

// What the backbone reads in this step, and what it answers.
void Session::Impl::think() {
  const std::span<const Position> heard = listener_->positions();
  if (const std::int64_t n = std::exchange(work_.forgotten, 0); n > 0)
    add_event(EventKind::window).count = n;
  if (std::exchange(work_.turn_ended, false)) add_event(EventKind::turn_ended);
  if (std::exchange(work_.cut, false))
    add_event(EventKind::reply_ended).reason = EndReason::interrupted;
  if (work_.floor == Floor::preparing && listener_->complete()) begin_reply();
  const bool draws = work_.floor != Floor::speaking || work_.drawing;
  const Plan* plan = draws ? policy_->plan(work_.floor) : nullptr;
  if (plan == nullptr && heard.empty()) return;

  chunk_start_ = parts_.backbone->next_position(*backbone_state_);
  batch_.clear();
  // The last draw is read together with what was heard since: one pass less per chunk.
  if (work_.pending >= 0) batch_.push_back({work_.pending, nullptr});
  batch_.insert(batch_.end(), heard.begin(), heard.end());
  work_.pending = -1;
  if (plan == nullptr) {
    feed(false);
  } else {
    draw(*plan);
  }
}

void Session::Impl::draw(const Plan& first_plan) {
  const Plan* plan = &first_plan;
  if (work_.floor == Floor::speaking && ++work_.reply_chunks > 1 && parts_.duplex &&
      work_.reply_chunks > parts_.duplex->max_reply_chunks)
    work_.force = EndReason::max_tokens;
  std::size_t slot = 0;
  for (int n = 0; wants_more(*plan, slot, n); ++n) {
    if (turns_ != nullptr &&
        parts_.backbone->held(*backbone_state_) + static_cast<std::int64_t>(batch_.size()) >
            parts_.context) {
      work_.pending = batch_.back().id;
      end_reply(EndReason::context);
      return;
    }
    const bool forced = work_.force != EndReason::none && work_.floor == Floor::speaking;
    feed(!forced);
    const Slot& ids = plan->slots[plan->repeats ? 0 : slot];
    const std::int32_t id =
        forced ? policy_->stop_id() : sampler_.pick(parts_.backbone->logits(*backbone_state_), ids);
    sampler_.accept(id);
    work_.pending = id;
    const Plan* next = take(id, plan);
    slot = next == plan ? slot + 1 : 0;
    plan = next;
    if (plan == nullptr) return;
    batch_.assign(1, {id, nullptr});
  }
}

bool Session::Impl::wants_more(const Plan& plan, std::size_t slot, int n_draws) const {
  if (!plan.repeats) return slot < plan.slots.size();
  return work_.n_codes < parts_.codes_per_chunk && n_draws < parts_.turns->max_tokens_per_step;
}

// Returns the plan to go on with: the same one, another one from its start, or null for none.
const Plan* Session::Impl::take(std::int32_t id, const Plan* plan) {
  ++work_.n_drawn;
  switch (policy_->meaning(id)) {
    case Drawn::think:
      add_event(EventKind::think).token = id;
      return nullptr;
    case Drawn::shift:
      add_event(EventKind::shift).token = id;
      add_event(EventKind::turn_ended);
      begin_reply();
      work_.reply_chunks = 1;
      return policy_->after_shift().slots.empty() ? nullptr : &policy_->after_shift();
    case Drawn::break_:
      add_event(EventKind::break_).token = id;
      end_reply(work_.force != EndReason::none ? work_.force : EndReason::break_);
      work_.floor = Floor::listening;
      work_.drop = true;
      work_.n_codes = 0;
      return nullptr;
    case Drawn::end:
      end_reply(EndReason::model);
      return nullptr;
    case Drawn::audio:
      if (turns_ != nullptr)
        code_positions_[work_.n_code_positions++] =
            parts_.backbone->next_position(*backbone_state_);
      work_.codes[work_.n_codes++] = id - parts_.vocabulary.audio_begin;
      break;
    case Drawn::text:
      add_text(id);
      break;
    case Drawn::silent_text:
      break;
  }
  if (turns_ != nullptr && work_.n_drawn >= parts_.turns->max_new_tokens) {
    end_reply(EndReason::max_tokens);
    return nullptr;
  }
  return plan;
}

void Session::Impl::begin_reply() {
  work_.floor = Floor::speaking;
  work_.drawing = true;
  work_.sounded = false;
  work_.n_drawn = 0;
  work_.reply_chunks = 0;
  work_.n_codes = 0;
  work_.n_code_positions = 0;
  ++work_.replies;
  if (turns_ != nullptr) {
    sampler_.begin_turn(
        turns_->first_turn() ? parts_.turns->first_sampling : parts_.turns->sampling,
        turns_->ids());
  } else {
    sampler_.begin_turn(parts_.duplex->sampling, {});
  }
  add_event(EventKind::reply_started);
}

void Session::Impl::end_reply(EndReason reason) {
  work_.drawing = false;
  work_.force = EndReason::none;
  add_event(EventKind::reply_ended).reason = reason;
}

// Codes that wait go to the sound in whole chunks, so that borders follow the count alone.
void Session::Impl::speak() {
  work_.job = {};
  if (work_.n_codes > done_.n_codes) {
    const std::size_t fresh = work_.n_codes - done_.n_codes;
    Event& event = add_event(EventKind::audio);
    event.n_codes = static_cast<std::uint8_t>(fresh);
    std::copy_n(work_.codes.begin() + static_cast<std::ptrdiff_t>(done_.n_codes), fresh,
                event.codes.begin());
  }
  if (work_.drop) {
    work_.job.drops = work_.sounded;
    return;
  }
  const bool last = !work_.drawing && (done_.drawing || done_.replies != work_.replies);
  const bool chunk_waits = work_.n_codes >= parts_.codes_per_chunk;
  if (chunk_waits || (last && (work_.sounded || work_.n_codes > 0))) pass_codes(last);
  work_.job.sounding = work_.sounded && work_.floor == Floor::speaking;
}

void Session::Impl::pass_codes(bool last) {
  Speech::Job& job = work_.job;
  job.begins = !std::exchange(work_.sounded, true);
  job.last = last;
  job.seed = parts_.seed;
  job.reply = work_.replies;
  job.n_codes = last ? work_.n_codes : parts_.codes_per_chunk;
  const std::size_t n = job.n_codes;
  std::copy_n(work_.codes.begin(), n, job.codes.begin());
  std::copy(work_.codes.begin() + static_cast<std::ptrdiff_t>(n),
            work_.codes.begin() + static_cast<std::ptrdiff_t>(work_.n_codes), work_.codes.begin());
  work_.n_codes -= n;
}

// Nothing here throws: after this the step has happened.
void Session::Impl::commit(std::span<float> out) {
  const Speech::Played played = speech_->commit(out);
  listener_->commit();
  backbone_state_->commit();
  sampler_.commit();
  if (window_) window_->add_chunk(chunk_start_);
  caught_up_ = false;
  if (played.muted > 0) add_event(EventKind::muted).count = static_cast<std::int64_t>(played.muted);
  const Speech::Job& ran = parts_.overlap ? done_.job : work_.job;
  if (ran.sounding && !speech_->finished() && played.samples < out.size())
    add_event(EventKind::underrun).count = static_cast<std::int64_t>(out.size() - played.samples);
  const bool waits = parts_.overlap && !work_.job.empty();
  const bool over = !work_.sounded || (speech_->finished() && !waits);
  if (work_.floor == Floor::speaking && !work_.drawing && over && speech_->queued() == 0)
    work_.floor = Floor::listening;
  work_.drop = false;
  ++work_.index;
  done_ = work_;
}

void Session::Impl::rollback() noexcept {
  if (sound_thread_) {
    stop_.set();  // no need to finish what is thrown away
    try {
      sound_thread_->wait();
    } catch (...) {  // the caller hears of the first failure
    }
  }
  stop_.clear();
  caught_up_ = false;
  listener_->rollback();
  backbone_state_->rollback();
  sampler_.rollback();
  speech_->rollback();
}

// Duplex has no end: the oldest chunks go, whole ones, and positions start over while listening.
// Runs before a step's work, on committed state only: what is forgotten stays so if the step fails.
void Session::Impl::forget_old_chunks() {
  if (!window_) return;
  const Stopwatch watch(*parts_.clock, timing_[Stage::backbone]);
  done_.forgotten += slide(*window_, *parts_.backbone, *backbone_state_, parts_.context,
                           done_.floor == Floor::listening);
}

void Session::Impl::feed(bool want_logits) {
  const Stopwatch watch(*parts_.clock, timing_[Stage::backbone]);
  parts_.backbone->feed(*backbone_state_, batch_, want_logits, stop_);
}

// With overlap the last step's codes become sound while this step listens and thinks.
void Session::Impl::begin_sound() {
  sound_timing_ = {};
  if (sound_thread_ && !caught_up_ && !done_.job.empty()) sound_thread_->start();
}

void Session::Impl::finish_sound() {
  if (!sound_thread_) {
    speech_->run(work_.job, timing_, stop_);
    return;
  }
  const std::int64_t start = parts_.clock->now_ns();
  sound_thread_->wait();
  const std::int64_t waited = parts_.clock->now_ns() - start;
  for (std::size_t i = 0; i < kStages; ++i) timing_.stage_ns[i] += sound_timing_.stage_ns[i];
  timing_.beside_ns = std::max<std::int64_t>(0, sound_timing_.side_ns(true) - waited);
}

// With overlap: the waiting codes become sound at once, since this step has to know what is heard.
void Session::Impl::catch_up() {
  if (!sound_thread_ || done_.job.empty()) return;
  try {
    speech_->run(done_.job, timing_, stop_);
  } catch (...) {
    rollback();
    throw;
  }
  caught_up_ = true;
}

// The most that a step can raise: a draw gives pieces of text or one or two others.
std::size_t Session::Impl::max_events() const {
  constexpr std::size_t kOthers = 16;
  const std::size_t draws =
      parts_.turns ? static_cast<std::size_t>(parts_.turns->max_tokens_per_step)
                   : parts_.duplex->plans.listen.size() + parts_.duplex->plans.shift.size() +
                         parts_.duplex->plans.speak.size();
  return kOthers + draws * std::max<std::size_t>(2, kMaxPiece / Event::kMaxText);
}

Event& Session::Impl::add_event(EventKind kind) {
  Event& event = events_.emplace_back();
  event.kind = kind;
  event.sample = work_.index * static_cast<std::int64_t>(parts_.out_chunk_samples);
  return event;
}

void Session::Impl::add_text(std::int32_t id) {
  std::array<char, kMaxPiece> bytes;
  const std::size_t n = parts_.tokens->piece(id, bytes);
  for (std::size_t at = 0; at < n; at += Event::kMaxText) {
    Event& event = add_event(EventKind::text);
    event.token = id;
    event.n_text = static_cast<std::uint8_t>(std::min(Event::kMaxText, n - at));
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), event.n_text,
                event.text_bytes.begin());
  }
}

}  // namespace parley
