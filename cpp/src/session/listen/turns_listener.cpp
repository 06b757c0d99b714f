// A turn's chunks become segments, features and a prompt, which the mind reads in portions.
#include "session/listen/turns_listener.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "audio/turn.h"
#include "parley/errors.hpp"
#include "session/listen/prompt_template.h"

namespace parley {

TurnsListener::TurnsListener(ListenerParts parts, TurnsConfig turns, Told told,
                             std::int32_t placeholder, Limits limits)
    : parts_(std::move(parts)),
      turns_(std::move(turns)),
      told_(std::move(told)),
      placeholder_(placeholder),
      limits_(limits),
      segments_(parts_.encoder, parts_.clock, parts_.front_end, parts_.thread) {
  samples_.reserve(static_cast<std::size_t>(parts_.front_end.segment_samples) +
                   parts_.chunk_samples);
}

void TurnsListener::take_in(std::span<const float> chunk, Floor floor, Timing& timing,
                            const StopFlag& stop) {
  work_ = done_;
  full_samples_ = 0;
  if (floor == Floor::preparing && !work_.encoded) finish_segments(timing, stop);
  if (floor != Floor::listening) return;
  const std::size_t n = work_.n_turn_samples + chunk.size();
  if (count_features(n, parts_.front_end) > limits_.room) {
    throw ContextError("[session.step] expected a turn of at most " + std::to_string(limits_.room) +
                       " positions (the context), got more after " +
                       std::to_string(n / static_cast<std::size_t>(parts_.front_end.input_hz)) +
                       " s; call end_turn() earlier or reset(), or use duplex, which has no end");
  }
  work_.n_turn_samples = n;
  samples_.insert(samples_.end(), chunk.begin(), chunk.end());
  const auto segment = static_cast<std::size_t>(parts_.front_end.segment_samples);
  // Strictly more than a segment: a turn of exactly one segment is cut by finish_segments.
  if (samples_.size() <= segment) return;
  collect(timing, stop);
  if (!segments_.has_thread()) {
    append(segments_.encode(std::span<const float>(samples_).first(segment), segments_.mel_frames(),
                            timing, stop));
  }
  full_samples_ = segment;
}

// How much of the turn's last segment is encoded. The convolutions of the last feature reach one
// mel frame beyond its own, so the silence of one more feature stays.
std::size_t TurnsListener::mel_frames_for(std::size_t n_features) const {
  const std::size_t whole = segments_.mel_frames();
  if (!turns_.short_segments || parts_.front_end.own_lengths()) return whole;
  return std::min((n_features + 1) << parts_.front_end.feature_halvings, whole);
}

void TurnsListener::append(std::span<const float> rows) {
  features_.insert(features_.end(), rows.begin(), rows.end());
}

// Waits for the segment that was begun beside the steps before, where there is one.
void TurnsListener::collect(Timing& timing, const StopFlag& stop) {
  if (!work_.begun) return;
  append(segments_.finish(timing, stop));
  work_.begun = false;
}

void TurnsListener::finish_segments(Timing& timing, const StopFlag& stop) {
  const std::size_t width = parts_.encoder->width();
  collect(timing, stop);
  const TurnSegments cut = cut_turn(samples_, parts_.front_end);
  for (const std::vector<float>& segment : cut.segments) {
    const std::size_t have = features_.size() / width;
    if (have >= n_features_) break;
    append(segments_.encode(segment, mel_frames_for(n_features_ - have), timing, stop));
  }
  if (features_.size() / width < n_features_) {
    throw BundleError("[session.step] expected " + std::to_string(n_features_) +
                      " features of the turn, got " + std::to_string(features_.size() / width) +
                      "; export the bundle again");
  }
  place_features();
  work_.encoded = true;
}

void TurnsListener::place_features() {
  const std::size_t width = parts_.encoder->width();
  std::size_t row = 0;
  for (Position& position : prompt_)
    if (position.id == placeholder_ && row < n_features_)
      position.feature = &features_[width * row++];
}

Heard TurnsListener::heard() {
  const std::size_t left = work_.encoded ? prompt_.size() - done_.cursor : 0;
  const std::size_t n = limits_.budget == 0 ? left : std::min(left, limits_.budget);
  work_.cursor = done_.cursor + n;
  return {.positions = std::span<const Position>(prompt_).subspan(done_.cursor, n),
          .complete = work_.encoded && work_.cursor == prompt_.size(),
          .first_turn = turns_taken_ <= 1,
          .ids = ids_};
}

void TurnsListener::build_prompt(std::string_view pattern, PromptFill fill, std::int64_t at) {
  fill.system = told_.system;
  fill.placeholder = placeholder_;
  fill.between = turns_.between;
  fill.tools = turns_.tools.schemas;
  fill.schemas = told_.tools;
  std::vector<std::int32_t> ids = expand_template(*parts_.tokens, pattern, fill);
  if (told_.text_only && !ids.empty() && ids.back() == turns_.speech.begin) ids.pop_back();
  // One more position, so that there is room for an answer.
  if (ids.size() + static_cast<std::size_t>(at) + 1 > limits_.room) {
    throw ContextError("[session.end_turn] expected at most " + std::to_string(limits_.room) +
                       " positions in the conversation, got " + std::to_string(at) +
                       " and a turn of " + std::to_string(ids.size()) +
                       "; call reset() or say less in a turn");
  }
  ids_ = std::move(ids);
  prompt_.resize(ids_.size());
  for (std::size_t i = 0; i < ids_.size(); ++i) prompt_[i] = {ids_[i], nullptr};
  n_features_ = std::accumulate(fill.pieces.begin(), fill.pieces.end(), std::size_t{0});
  of_result_ = false;
  done_.cursor = 0;
  done_.encoded = n_features_ == 0;
  ++turns_taken_;
}

void TurnsListener::end_turn(std::int64_t at, std::size_t filled) {
  // A whole segment is filled with silence anyway; one of its own length would hear it as speech.
  if (parts_.front_end.own_lengths()) {
    const std::size_t held = std::min(filled, samples_.size());
    samples_.resize(samples_.size() - held);
    done_.n_samples = samples_.size();
    done_.n_turn_samples -= std::min<std::uint64_t>(filled, done_.n_turn_samples);
  }
  const auto pieces = feature_pieces(done_.n_turn_samples, parts_.front_end);
  if (count_features(done_.n_turn_samples, parts_.front_end) == 0) {
    throw InputError("[session.end_turn] expected a turn of at least " +
                     std::to_string(parts_.front_end.trim_samples) + " samples, got " +
                     std::to_string(done_.n_turn_samples) +
                     "; call step() with the user's audio first");
  }
  build_prompt(turns_taken_ == 0 ? turns_.first : turns_.next, {.pieces = pieces}, at);
}

void TurnsListener::end_turn_with_text(std::string_view text, std::int64_t at) {
  if (text.empty()) {
    throw InputError("[session.send_text] expected some text, got none; pass what the user says");
  }
  build_prompt(turns_taken_ == 0 ? turns_.first_text : turns_.next_text, {.user = text}, at);
}

void TurnsListener::end_turn_with_result(std::string_view name, std::string_view content,
                                         std::int64_t at) {
  if (turns_.tools.output.empty() || turns_taken_ == 0) {
    throw InputError(
        std::string(
            "[session.send_result] expected a result of a call in this conversation, got ") +
        (turns_taken_ == 0 ? "one before its first turn" : "one for a model that calls no tools") +
        "; send what it asked for");
  }
  build_prompt(turns_.tools.output, {.name = name, .content = content}, at);
  of_result_ = true;
}

void TurnsListener::abandon_turn() {
  --turns_taken_;
  if (of_result_) {
    forget_prompt();
  } else {
    forget_turn();
  }
}

void TurnsListener::forget_prompt() {
  prompt_.clear();
  ids_.clear();
  done_.cursor = work_.cursor = 0;
  of_result_ = false;
}

void TurnsListener::forget_turn() {
  samples_.clear();
  features_.clear();
  prompt_.clear();
  ids_.clear();
  of_result_ = false;
  n_features_ = full_samples_ = 0;
  done_ = work_ = {};
}

void TurnsListener::commit() {
  if (full_samples_ > 0) {
    if (segments_.has_thread()) {
      segments_.begin(std::span<const float>(samples_).first(full_samples_));
      work_.begun = true;
    }
    samples_.erase(samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(full_samples_));
    full_samples_ = 0;
  }
  const bool read = !prompt_.empty() && work_.encoded && work_.cursor == prompt_.size();
  if (read && of_result_) forget_prompt();
  if (read && !prompt_.empty()) {
    prompt_.clear();
    samples_.clear();
    features_.clear();
    work_ = {};  // also where a text took the turn's place
  }
  work_.n_samples = samples_.size();
  work_.n_values = features_.size();
  done_ = work_;
}

void TurnsListener::rollback() {
  samples_.resize(done_.n_samples);
  features_.resize(done_.n_values);
  full_samples_ = 0;
}

void TurnsListener::reset() {
  turns_taken_ = 0;
  forget_turn();
}

void check_short_form(const TurnsConfig& turns, const Encoder& encoder, const std::string& where) {
  if (!turns.short_segments || encoder.has_short_form()) return;
  throw BundleError("[" + where +
                    "] expected a graph encoder_segment of any length for turns.short_segments, "
                    "got one of whole segments; export the bundle again");
}

// The rows of a segment that is encoded beside the steps join the features, which a later step
// would do anyway: then nothing is under way on another thread.
void TurnsListener::settle() {
  Timing unread;
  work_ = done_;
  collect(unread, StopFlag());
  commit();
}

std::unique_ptr<Listener> TurnsListener::fork() {
  settle();
  auto copy = std::make_unique<TurnsListener>(parts_, turns_, told_, placeholder_, limits_);
  copy->done_ = copy->work_ = done_;
  copy->samples_ = samples_;
  copy->features_ = features_;
  copy->ids_ = ids_;
  copy->prompt_ = prompt_;
  copy->n_features_ = n_features_;
  copy->turns_taken_ = turns_taken_;
  copy->of_result_ = of_result_;
  if (copy->done_.encoded) copy->place_features();
  return copy;
}

void TurnsListener::save(ByteWriter& to) {
  settle();
  to.put(done_.n_turn_samples);
  to.put(done_.cursor);
  to.put_flag(done_.encoded);
  to.put_flag(!prompt_.empty());
  to.put_all(samples_);
  to.put_all(features_);
  to.put_all(ids_);
  to.put(static_cast<std::uint64_t>(n_features_));
  to.put(turns_taken_);
  to.put_flag(of_result_);
}

void TurnsListener::load(ByteReader& from) {
  reset();
  const std::size_t width = parts_.encoder->width();
  const std::size_t most =
      static_cast<std::size_t>(parts_.front_end.segment_samples) + parts_.chunk_samples;
  done_.n_turn_samples = from.get<std::uint64_t>();
  done_.cursor = from.get<std::uint64_t>();
  done_.encoded = from.get_flag();
  const bool prompted = from.get_flag();
  samples_ = from.get_some<float>(most);
  features_ = from.get_some<float>((limits_.room + segments_.mel_frames()) * width);
  ids_ = from.get_some<std::int32_t>(limits_.room);
  n_features_ = from.get<std::uint64_t>();
  turns_taken_ = from.get<std::int32_t>();
  of_result_ = from.get_flag();
  for (std::int32_t id : ids_)
    ByteReader::require(id >= 0 && id < parts_.tokens->vocab_size(), "ids of this vocabulary");
  if (prompted)
    for (std::int32_t id : ids_) prompt_.push_back({id, nullptr});
  const auto placeholders = std::count(ids_.begin(), ids_.end(), placeholder_);
  const bool good = done_.cursor <= prompt_.size() && features_.size() % width == 0 &&
                    turns_taken_ >= 0 && n_features_ <= limits_.room &&
                    (!prompted || n_features_ <= static_cast<std::size_t>(placeholders)) &&
                    (!prompted || !done_.encoded || n_features_ * width <= features_.size());
  ByteReader::require(good, "a turn that makes sense");
  if (prompted && done_.encoded) place_features();
  done_.n_samples = samples_.size();
  done_.n_values = features_.size();
  work_ = done_;
}

}  // namespace parley
