// The bookkeeping of held positions against a plain set of numbers.
#include "runners/llama/spans.h"

#include <random>
#include <set>

#include "check.h"

using parley::PositionSpans;

namespace {

std::set<std::int64_t> positions(const PositionSpans& spans) {
  std::set<std::int64_t> all;
  for (const auto& range : spans.ranges()) {
    for (std::int64_t p = range.begin; p < range.end; ++p) all.insert(p);
  }
  return all;
}

}  // namespace

TEST(positions_are_appended_erased_and_moved) {
  PositionSpans spans;
  CHECK(spans.empty());
  CHECK_EQ(spans.end(), 0);
  spans.append(5, 10);
  CHECK_EQ(spans.count(), 10);
  CHECK_EQ(spans.end(), 15);
  spans.erase(8, 10);
  CHECK_EQ(spans.ranges().size(), 2U);
  CHECK(spans.shift(10, 15, -2));
  CHECK_EQ(spans.ranges().size(), 1U);
  CHECK_EQ(spans.end(), 13);
  CHECK(!spans.shift(5, 13, -6));  // below zero
  CHECK(!spans.shift(9, 13, -1));  // onto one that stays
  CHECK_EQ(spans.end(), 13);
  spans.erase(0, 100);
  CHECK(spans.empty());
}

TEST(any_sequence_of_operations_equals_that_on_a_set) {
  std::mt19937 random(11);
  PositionSpans spans;
  std::set<std::int64_t> plain;
  for (int i = 0; i < 20000; ++i) {
    const std::int64_t begin = random() % 60;
    const std::int64_t end = begin + 1 + random() % 20;
    const std::int64_t by = static_cast<std::int64_t>(random() % 41) - 20;
    if (random() % 3 == 0 && spans.end() < 100) {
      const std::int64_t at = spans.empty() ? begin : spans.end();
      spans.append(at, end - begin);
      for (std::int64_t p = 0; p < end - begin; ++p) plain.insert(at + p);
    } else if (random() % 2 == 0) {
      spans.erase(begin, end);
      plain.erase(plain.lower_bound(begin), plain.lower_bound(end));
    } else {
      std::set<std::int64_t> stays = plain;
      std::set<std::int64_t> moved;
      bool free = true;
      for (std::int64_t p : plain) {
        if (p < begin || p >= end) continue;
        stays.erase(p);
        moved.insert(p + by);
      }
      for (std::int64_t p : moved) free = free && p >= 0 && stays.count(p) == 0;
      CHECK_EQ(spans.shift(begin, end, by), free);
      if (free) {
        stays.insert(moved.begin(), moved.end());
        plain = stays;
      }
    }
    CHECK(positions(spans) == plain);
    CHECK_EQ(spans.count(), static_cast<std::int64_t>(plain.size()));
    CHECK_EQ(spans.end(), plain.empty() ? 0 : *plain.rbegin() + 1);
  }
}
