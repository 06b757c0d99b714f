// The ids of a prompt: literal parts, the system prompt, and what the user said; knows no turn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "runners/runner.h"

namespace parley {

// What stands in for the names of a template.
struct PromptFill {
  std::string_view system = {};  // {system}
  std::string_view user = {};    // {user}, as text
  std::int32_t placeholder = 0;  // {user}, where he was heard: so many of these
  std::size_t n_features = 0;
};

// Literal parts are tokenized with special tokens, what the fill brings without. Throws BundleError
// for an unknown {name}.
std::vector<std::int32_t> expand_template(const TokenModel& tokens, std::string_view pattern,
                                          const PromptFill& fill);

}  // namespace parley
