// A turn's chunks become segments, features and a prompt, which the backbone reads in portions.
#include "session/listen/turns_listener.h"
#include "audio/turn.h"

#include <algorithm>
#include <utility>

#include "parley/errors.h"

namespace parley {

TurnsListener::TurnsListener(ListenerParts parts, TurnsConfig turns, std::string system,
                             std::int32_t placeholder, std::size_t room, int budget)
    : parts_(std::move(parts)),
      turns_(std::move(turns)),
      system_(std::move(system)),
      placeholder_(placeholder),
      room_(room),
      budget_(static_cast<std::size_t>(std::max(0, budget))),
      segments_(parts_.encoder, parts_.clock, parts_.front_end, parts_.beside) {
  samples_.reserve(static_cast<std::size_t>(parts_.front_end.segment_samples) +
                   parts_.chunk_samples);
}

void TurnsListener::take_in(std::span<const float> chunk, Floor floor, Timing& timing,
                            const StopFlag& stop) {
  if (floor == Floor::preparing && !encoded_) finish_segments(timing, stop);
  if (floor != Floor::listening) return;
  const std::size_t n = n_turn_samples_ + chunk.size();
  if (count_features(n, parts_.front_end) > room_) {
    throw ContextError("[session.step] expected a turn of at most " + std::to_string(room_) +
                       " positions (the context), got more after " +
                       std::to_string(n / static_cast<std::size_t>(parts_.front_end.input_hz)) +
                       " s; do end_turn() earlier, reset(), or use duplex, which has no end");
  }
  n_turn_samples_ = n;
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
  if (!turns_.short_segments) return whole;
  return std::min((n_features + 1) << parts_.front_end.feature_halvings, whole);
}

void TurnsListener::append(std::span<const float> rows) {
  features_.insert(features_.end(), rows.begin(), rows.end());
}

// Waits for the segment that was begun beside the steps before, where there is one.
void TurnsListener::collect(Timing& timing, const StopFlag& stop) {
  if (!begun_ || collected_) return;
  append(segments_.finish(timing, stop));
  collected_ = true;
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
                      "; do export the bundle again");
  }
  std::size_t row = 0;
  for (Position& position : prompt_)
    if (position.id == placeholder_ && row < n_features_)
      position.feature = &features_[width * row++];
  encoded_ = true;
}

std::span<const Position> TurnsListener::positions() {
  const std::size_t left = encoded_ ? prompt_.size() - cursor_ : 0;
  portion_ = budget_ == 0 ? left : std::min(left, budget_);
  return std::span<const Position>(prompt_).subspan(cursor_, portion_);
}

bool TurnsListener::complete() const {
  return encoded_ && cursor_ + portion_ == prompt_.size();
}

void TurnsListener::build_prompt(std::string_view pattern, std::string_view user,
                                 std::size_t n_features, std::int64_t held) {
  std::vector<std::int32_t> ids =
      expand_template(*parts_.tokens, pattern, system_, user, placeholder_, n_features);
  // One more position, so that there is room for an answer.
  if (ids.size() + static_cast<std::size_t>(held) + 1 > room_) {
    throw ContextError("[session.end_turn] expected at most " + std::to_string(room_) +
                       " positions in the conversation, got " + std::to_string(held) +
                       " and a turn of " + std::to_string(ids.size()) +
                       "; do reset() or say less in a turn");
  }
  ids_ = std::move(ids);
  prompt_.resize(ids_.size());
  for (std::size_t i = 0; i < ids_.size(); ++i) prompt_[i] = {ids_[i], nullptr};
  cursor_ = portion_ = 0;
  n_features_ = n_features;
  encoded_ = committed_encoded_ = n_features == 0;
  ++turns_taken_;
}

void TurnsListener::end_turn(std::int64_t held) {
  const std::size_t n = count_features(n_turn_samples_, parts_.front_end);
  if (n == 0) {
    throw InputError("[session.end_turn] expected a turn of at least " +
                     std::to_string(parts_.front_end.trim_samples) + " samples, got " +
                     std::to_string(n_turn_samples_) + "; do step() the user's audio first");
  }
  build_prompt(turns_taken_ == 0 ? turns_.first : turns_.next, {}, n, held);
}

void TurnsListener::end_turn_with_text(std::string_view text, std::int64_t held) {
  if (text.empty()) {
    throw InputError(
        "[session.send_text] expected some text, got none; do pass what the user says");
  }
  build_prompt(turns_taken_ == 0 ? turns_.first_text : turns_.next_text, text, 0, held);
}

void TurnsListener::abandon() {
  --turns_taken_;
  forget_turn();
}

void TurnsListener::forget_turn() {
  samples_.clear();
  features_.clear();
  prompt_.clear();
  ids_.clear();
  n_turn_samples_ = n_features_ = cursor_ = portion_ = full_samples_ = 0;
  encoded_ = true;
  begun_ = false;
  commit();
}

void TurnsListener::commit() {
  cursor_ += portion_;
  portion_ = 0;
  if (std::exchange(collected_, false)) begun_ = false;
  if (full_samples_ > 0) {
    if (segments_.has_thread()) {
      segments_.begin(std::span<const float>(samples_).first(full_samples_));
      begun_ = true;
    }
    samples_.erase(samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(full_samples_));
    full_samples_ = 0;
  }
  const bool read = cursor_ == prompt_.size() && encoded_;
  if (!prompt_.empty() && read) {
    prompt_.clear();
    cursor_ = 0;
    samples_.clear();
    features_.clear();
    n_turn_samples_ = 0;
    begun_ = false;  // where a text took the turn's place
  }
  committed_samples_ = samples_.size();
  committed_turn_samples_ = n_turn_samples_;
  committed_features_ = features_.size();
  committed_encoded_ = encoded_;
}

void TurnsListener::rollback() {
  portion_ = full_samples_ = 0;
  collected_ = false;
  samples_.resize(committed_samples_);
  features_.resize(committed_features_);
  n_turn_samples_ = committed_turn_samples_;
  encoded_ = committed_encoded_;
}

void TurnsListener::reset() {
  turns_taken_ = 0;
  forget_turn();
}

void check_short_form(const TurnsConfig& turns, const Encoder& encoder, const std::string& where) {
  if (!turns.short_segments || encoder.has_short_form()) return;
  throw BundleError("[" + where +
                    "] expected a graph encoder_segment of any length for turns.short_segments, "
                    "got one of whole segments; do export the bundle again");
}

std::vector<std::int32_t> expand_template(const TokenModel& tokens, std::string_view pattern,
                                          std::string_view system, std::string_view user,
                                          std::int32_t placeholder, std::size_t n_features) {
  std::vector<std::int32_t> ids;
  const auto append = [&](std::string_view text, bool special) {
    const std::vector<std::int32_t> more = tokens.tokenize(text, special);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  while (!pattern.empty()) {
    const std::size_t open = pattern.find('{');
    if (open != 0) append(pattern.substr(0, open), true);
    if (open == std::string_view::npos) break;
    const std::size_t close = pattern.find('}', open);
    const std::string_view name =
        close == std::string_view::npos ? "" : pattern.substr(open + 1, close - open - 1);
    if (name == "system") {
      append(system, false);
    } else if (name == "user" && n_features > 0) {
      ids.insert(ids.end(), n_features, placeholder);
    } else if (name == "user") {
      append(user, false);
    } else {
      throw BundleError("[session.expand_template] expected {system} or {user}, got \"" +
                        std::string(pattern.substr(open, 12)) + "\"; do mend the manifest's turns");
    }
    pattern.remove_prefix(close + 1);
  }
  return ids;
}

}  // namespace parley
