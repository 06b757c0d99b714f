// The events of one step, and the text and codes that they show; knows no organ.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parley/events.hpp"

namespace parley {

// Allocates nothing once a step of the same size was seen.
class EventList {
 public:
  EventList() { events_.reserve(64); }

  // A step at this place of the output timeline.
  void begin(std::int64_t sample) {
    sample_ = sample;
    events_.clear();
    texts_.clear();
    codes_.clear();
    places_.clear();
  }
  Event& add(EventKind kind) {
    places_.push_back({texts_.size(), 0});
    Event& event = events_.emplace_back();
    event.kind = kind;
    event.sample = sample_;
    return event;
  }
  // `write` appends to a string what the event's text is.
  template <typename Write>
  void add_text(std::int32_t token, Write write) {
    add(EventKind::text).token = token;
    write(texts_);
    places_.back().second = texts_.size() - places_.back().first;
  }
  // `call`: the tool's name in its first line, then the arguments.
  void add_call(std::string_view call) {
    add(EventKind::call);
    texts_ += call;
    places_.back().second = call.size();
  }
  void add_code(std::int32_t code) { codes_.push_back(code); }
  void drop_codes() { codes_.clear(); }
  // Where there are any.
  void add_codes() {
    if (!codes_.empty()) add(EventKind::audio);
  }

  // All of them, valid until the next begin().
  std::span<const Event> finish() {
    for (std::size_t i = 0; i < events_.size(); ++i) {
      events_[i].text = std::string_view(texts_).substr(places_[i].first, places_[i].second);
      if (events_[i].kind == EventKind::audio) events_[i].codes = codes_;
    }
    return events_;
  }

 private:
  std::vector<Event> events_;
  std::vector<std::pair<std::size_t, std::size_t>> places_;  // of each event's text in texts_
  std::string texts_;
  std::vector<std::int32_t> codes_;  // drawn in this step
  std::int64_t sample_ = 0;
};

}  // namespace parley
