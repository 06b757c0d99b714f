// The ids of a prompt: literal parts, the system prompt, and what the user said; knows no turn.
#include "session/listen/prompt_template.h"

#include <optional>
#include <string>

#include "parley/errors.hpp"

namespace parley {

namespace {

std::optional<std::string_view> text_of(std::string_view name, const PromptFill& fill) {
  if (name == "system") return fill.system;
  if (name == "user") return fill.user;
  if (name == "schemas") return fill.schemas;
  if (name == "name") return fill.name;
  if (name == "content") return fill.content;
  return std::nullopt;
}

}  // namespace

std::vector<std::int32_t> expand_template(const TokenModel& tokens, std::string_view pattern,
                                          const PromptFill& fill) {
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
    if (name == "user" && !fill.pieces.empty()) {
      for (std::size_t i = 0; i < fill.pieces.size(); ++i) {
        if (i > 0) append(fill.between, true);
        ids.insert(ids.end(), fill.pieces[i], fill.placeholder);
      }
    } else if (name == "tools") {
      const std::string_view told = fill.schemas.empty() ? std::string_view() : fill.tools;
      const auto more = expand_template(tokens, told, {.schemas = fill.schemas});
      ids.insert(ids.end(), more.begin(), more.end());
    } else if (const auto text = text_of(name, fill)) {
      append(*text, false);
    } else {
      throw BundleError("[session.expand_template] expected {system} or {user}, got \"" +
                        std::string(pattern.substr(open, 12)) + "\"; mend the manifest's turns");
    }
    pattern.remove_prefix(close + 1);
  }
  return ids;
}

}  // namespace parley
