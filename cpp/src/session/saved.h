// Files that hold a saved session: what is in them is whole and unchanged, or refused.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace parley {

// `origin` says what made the session, `body` what it remembers. Writes the file whole or not at
// all; throws Error where the disk says no.
void write_saved(const std::string& path, const std::string& origin,
                 std::span<const std::byte> body);

struct SavedSession {
  std::string origin;
  std::vector<std::byte> body;
};

// Throws InputError for a file that is none, is cut off, was changed, or has another format.
SavedSession read_saved(const std::string& path);

}  // namespace parley
