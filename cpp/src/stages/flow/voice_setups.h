// The set-ups of voices, each made once and shared by its states; knows not how one is made.
#pragma once
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "stages/flow/state.h"

namespace parley {

// A set-up lives as long as a state of its voice, and the one that was asked for last beyond that.
// Thread-safe; a lock is held for look-ups alone, so nobody waits for another voice.
class VoiceSetups {
 public:
  using Shared = std::shared_ptr<const VoiceSetup>;
  using Make = std::function<Shared(const SetupProgress&)>;

  // The known one, else what `make` gives: by this thread, or by another that is at it already,
  // whose progress is told meanwhile. What `make` throws passes through and leaves nothing.
  Shared get(const Voice& voice, const SetupProgress& progress, const Make& make);

 private:
  struct Progress {
    std::size_t done = 0;
    std::size_t all = 0;
  };
  struct Work {
    std::thread::id maker;
    std::shared_future<Shared> made;  // null where making failed
    Progress progress;                // under mutex_
  };
  struct Entry {
    std::weak_ptr<const VoiceSetup> known;
    std::shared_ptr<Work> work;  // while it is being made
  };

  bool is_making(std::thread::id thread) const;
  Shared make_for_all(const Voice& voice, const SetupProgress& progress, const Make& make,
                      std::unique_lock<std::mutex> lock);
  Shared wait_for(const Work& work, const SetupProgress& progress);

  std::mutex mutex_;
  std::map<const Voice*, Entry> entries_;
  Shared last_;  // asked for
};

}  // namespace parley
