// Holds the process's listener to the libraries' messages; knows no library.
#include "base/log.h"

#include <mutex>
#include <shared_mutex>
#include <utility>

namespace parley {
namespace {

// Never destroyed: a library's threads may speak until the process ends.
struct Listener {
  std::shared_mutex mutex;  // shared while the listener is called
  Log log;
};

Listener& listener() {
  static auto& one = *new Listener;
  return one;
}

}  // namespace

void set_log(Log log) {
  const std::unique_lock lock(listener().mutex);
  std::swap(listener().log, log);
}

void tell(LogLevel level, std::string_view library, std::string_view text) noexcept {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  if (text.empty()) return;
  try {
    const std::shared_lock lock(listener().mutex);
    if (listener().log) listener().log(level, library, text);
  } catch (...) {  // a vendor's code must not see it
  }
}

}  // namespace parley
