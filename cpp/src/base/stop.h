// A flag that lets one thread stop the work of another between two operations; knows no thread.
#pragma once
#include <atomic>

#include "parley/errors.hpp"

namespace parley {

// Set by any thread, polled by the one that works. Lock-free, so a signal handler may set it too.
class StopFlag {
 public:
  void set() { stop_.store(true, std::memory_order_release); }
  void clear() { stop_.store(false, std::memory_order_release); }
  bool is_set() const { return stop_.load(std::memory_order_acquire); }
  void check() const {
    if (is_set()) {
      throw CancelledError(
          "[session.cancel] the work was cancelled; the session is as before the step");
    }
  }

 private:
  std::atomic<bool> stop_{false};
};

}  // namespace parley
