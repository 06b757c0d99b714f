// The ids of a prompt: literal parts, the system prompt, and what the user said; knows no turn.
#include "session/listen/prompt_template.h"

#include <string>

#include "parley/errors.hpp"

namespace parley {

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
    if (name == "system") {
      append(fill.system, false);
    } else if (name == "user" && !fill.pieces.empty()) {
      for (std::size_t i = 0; i < fill.pieces.size(); ++i) {
        if (i > 0) append(fill.between, true);
        ids.insert(ids.end(), fill.pieces[i], fill.placeholder);
      }
    } else if (name == "user") {
      append(fill.user, false);
    } else {
      throw BundleError("[session.expand_template] expected {system} or {user}, got \"" +
                        std::string(pattern.substr(open, 12)) + "\"; mend the manifest's turns");
    }
    pattern.remove_prefix(close + 1);
  }
  return ids;
}

}  // namespace parley
