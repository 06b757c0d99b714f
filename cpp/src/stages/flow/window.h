// Which codes of a reply are decoded together; pure arithmetic over code numbers, knows no graph.
#pragma once
#include <algorithm>
#include <cstdint>

namespace parley {

struct FlowCut {
  std::int64_t codes_per_run = 4;
  std::int64_t past_codes = 16;
  std::int64_t lookahead_codes = 0;
  std::int64_t last_run = 4;  // the most that a reply's last run holds
};

// How many codes of a reply are decoded once `received` came. Chunk borders follow the token count
// alone, so how the codes were cut into pushes does not matter.
constexpr std::int64_t decodable(std::int64_t received, bool last, const FlowCut& cut) {
  if (last) return received;
  return std::max<std::int64_t>(received - cut.lookahead_codes, 0) / cut.codes_per_run *
         cut.codes_per_run;
}

// Code numbers of the reply: past is [begin, own), own [own, own_end), look-ahead [own_end, end).
struct FlowWindow {
  std::int64_t begin = 0;
  std::int64_t own = 0;
  std::int64_t own_end = 0;
  std::int64_t end = 0;
};

// The next run behind `decoded` codes; own is empty where none is complete yet.
constexpr FlowWindow next_window(std::int64_t received, std::int64_t decoded, bool last,
                                 const FlowCut& cut) {
  FlowWindow window;
  window.own = decoded;
  const bool ends = last && received - decoded <= cut.last_run;
  const std::int64_t run = ends ? cut.last_run : cut.codes_per_run;
  window.own_end = std::min(decoded + run, decodable(received, last, cut));
  window.own_end = std::max(window.own_end, decoded);
  window.begin = std::max<std::int64_t>(decoded - cut.past_codes, 0);
  window.end = std::min(window.own_end + cut.lookahead_codes, received);
  return window;
}

}  // namespace parley
