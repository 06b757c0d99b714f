// The ranges of positions that were evicted from a cache; pure arithmetic, knows no cache.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace parley {

// Ascending, disjoint, never touching one another. A sliding window keeps growing the same range,
// so a long conversation needs no memory.
class PositionGaps {
 public:
  struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };

  PositionGaps() { ranges_.reserve(16); }

  void add(std::int64_t begin, std::int64_t end) {
    auto first = std::find_if(ranges_.begin(), ranges_.end(),
                              [&](const Range& r) { return r.end >= begin; });
    auto last = first;
    for (; last != ranges_.end() && last->begin <= end; ++last) {
      begin = std::min(begin, last->begin);
      end = std::max(end, last->end);
    }
    if (first == last) {
      ranges_.insert(first, {begin, end});
      return;
    }
    *first = {begin, end};
    ranges_.erase(first + 1, last);
  }

  // Nothing from `position` on exists any more.
  void clip(std::int64_t position) {
    while (!ranges_.empty() && ranges_.back().begin >= position) ranges_.pop_back();
    if (!ranges_.empty()) ranges_.back().end = std::min(ranges_.back().end, position);
  }

  // The last range at or behind `keep`; of one that begins before, the part behind. Empty where
  // there is none.
  std::optional<Range> last(std::int64_t keep) const {
    if (ranges_.empty() || ranges_.back().end <= keep) return std::nullopt;
    return Range{std::max(ranges_.back().begin, keep), ranges_.back().end};
  }
  // Removes what last() gave.
  void drop_last(std::int64_t keep) {
    if (ranges_.back().begin < keep) {
      ranges_.back().end = keep;
    } else {
      ranges_.pop_back();
    }
  }

  std::int64_t total() const {
    std::int64_t n = 0;
    for (const Range& range : ranges_) n += range.end - range.begin;
    return n;
  }

  void clear() { ranges_.clear(); }
  std::size_t size() const { return ranges_.size(); }
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
};

}  // namespace parley
