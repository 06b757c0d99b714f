// What a saved session says of where it comes from; knows no session and opens no file.
#pragma once
#include <string>

#include "parley/parley.hpp"

namespace parley {

struct Origin {
  std::string build;       // parley, its compiler and the libraries that compute
  std::string bundle;      // hash of the manifest, which has the hashes of all files
  std::string settings;    // of the opened bundle, as far as they change numbers
  SessionOptions options;  // voice_progress is left out
};

std::string origin_text(const Origin& origin);
// The options of the session that was saved. Throws InputError where build, bundle or settings are
// not those of `here`, and says which.
SessionOptions options_of(const std::string& text, const Origin& here);

// Of parley itself.
std::string build_name();

}  // namespace parley
