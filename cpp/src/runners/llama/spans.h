// Which positions of one sequence are held: pure arithmetic over a sorted list of ranges.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace parley {

// Half-open ranges, sorted, apart from each other by at least one position.
class PositionSpans {
 public:
  struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };

  PositionSpans() { ranges_.reserve(64); }

  bool empty() const { return ranges_.empty(); }
  // One past the last position held; 0 where none is.
  std::int64_t end() const { return ranges_.empty() ? 0 : ranges_.back().end; }
  std::int64_t count() const {
    std::int64_t n = 0;
    for (const Range& range : ranges_) n += range.end - range.begin;
    return n;
  }
  const std::vector<Range>& ranges() const { return ranges_; }

  // A range behind all others, apart from them.
  void add(const Range& range) { ranges_.push_back(range); }

  // `begin` is end(), or anything where nothing is held.
  void append(std::int64_t begin, std::int64_t n) {
    if (n == 0) return;
    if (!ranges_.empty()) {
      ranges_.back().end += n;
    } else {
      ranges_.push_back({begin, begin + n});
    }
  }

  void erase(std::int64_t begin, std::int64_t end) {
    for (std::size_t i = 0; i < ranges_.size(); ++i) {
      Range& range = ranges_[i];
      if (range.begin < begin && range.end > end) {  // a hole inside: the only way to grow
        const Range tail{end, range.end};
        range.end = begin;
        ranges_.insert(ranges_.begin() + static_cast<std::ptrdiff_t>(i) + 1, tail);
        return;
      }
      if (range.begin >= begin && range.end <= end) {
        range.end = range.begin;
      } else if (range.begin < begin) {
        range.end = std::min(range.end, begin);
      } else {
        range.begin = std::max(range.begin, end);
      }
    }
    std::erase_if(ranges_, [](const Range& range) { return range.begin >= range.end; });
  }

  // Moves what lies in [begin, end) by `by`. Returns false, and changes nothing, where a position
  // would become negative or meet one that stays.
  bool shift(std::int64_t begin, std::int64_t end, std::int64_t by) {
    std::vector<Range> moved;
    PositionSpans rest = *this;
    for (const Range& range : ranges_) {
      const Range part{std::max(range.begin, begin), std::min(range.end, end)};
      if (part.begin < part.end) moved.push_back({part.begin + by, part.end + by});
    }
    rest.erase(begin, end);
    for (const Range& range : moved) {
      if (range.begin < 0) return false;
      for (const Range& still : rest.ranges_) {
        if (range.begin < still.end && still.begin < range.end) return false;
      }
      rest.ranges_.push_back(range);
    }
    std::sort(rest.ranges_.begin(), rest.ranges_.end(),
              [](const Range& a, const Range& b) { return a.begin < b.begin; });
    rest.join();
    ranges_.assign(rest.ranges_.begin(), rest.ranges_.end());
    return true;
  }

 private:
  // Makes one range of two that touch.
  void join() {
    for (std::size_t i = ranges_.size(); i-- > 1;) {
      if (ranges_[i - 1].end == ranges_[i].begin) {
        ranges_[i - 1].end = ranges_[i].end;
        ranges_.erase(ranges_.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
  }

  std::vector<Range> ranges_;
};

}  // namespace parley
