// The ids of a prompt: literal parts, the system prompt, and what the user said; knows no turn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "runners/runner.h"

namespace parley {

// What stands in for the names of a template.
struct PromptFill {
  std::string_view system = {};  // {system}
  std::string_view user = {};    // {user}, as text
  // {user}, where he was heard: so many of these for each piece, and a text between two.
  std::int32_t placeholder = 0;
  std::span<const std::size_t> pieces = {};
  std::string_view between = {};
  std::string_view tools = {};    // {tools}: a template with {schemas}; nothing without schemas
  std::string_view schemas = {};  // JSON
  std::string_view name = {};     // {name} and {content} of what a tool gave
  std::string_view content = {};
};

// Literal parts are tokenized with special tokens, what the fill brings without. Throws BundleError
// for an unknown {name}.
std::vector<std::int32_t> expand_template(const TokenModel& tokens, std::string_view pattern,
                                          const PromptFill& fill);

}  // namespace parley
