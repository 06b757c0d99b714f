// Settings of the flow decoder that a caller may choose instead of the bundle's.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace parley {

// What a chunk's own frames see of what was before them.
enum class FlowMode : std::uint8_t {
  exact,   // everything, the codes behind them too: for whole utterances only, no session
  window,  // voice prompt and a bounded past, computed again with every chunk
  cached,  // the same, from the keys and values that were kept when it was computed
};
enum class FlowSolver : std::uint8_t { midpoint, euler };
enum class FlowSpacing : std::uint8_t { linear, cosine };  // cosine: short steps first

// Nothing: the bundle's, for each. A value out of range is an InputError where they are used.
struct FlowSettings {
  std::optional<FlowMode> mode;
  std::optional<FlowSolver> solver;
  std::optional<FlowSpacing> spacing;
  std::optional<int> points;              // in time, from noise to latents; one step less
  std::optional<double> guidance;         // 0: none
  std::optional<int> guided_evaluations;  // how many of the first ones
  std::optional<int> prompt_codes;        // of the voice, its last ones; 0: all
  std::optional<int> past_codes;          // of the reply
  std::optional<int> lookahead_codes;     // that wait behind a code before it is decoded

  bool operator==(const FlowSettings&) const = default;
};

// From a JSON object with these names, such as {"mode": "cached"}; an empty text has none. Throws
// InputError that names what is wrong.
FlowSettings parse_flow_settings(std::string_view json);

}  // namespace parley
