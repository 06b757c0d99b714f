// Who makes a voice's set-up and who waits for it; knows not how one is made.
#include "stages/flow/voice_setups.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace parley {

namespace {

constexpr auto kTellEvery = std::chrono::milliseconds(50);

}  // namespace

VoiceSetups::Shared VoiceSetups::get(const Voice& voice, const SetupProgress& progress,
                                     const Make& make) {
  while (true) {
    std::unique_lock lock(mutex_);
    std::erase_if(entries_, [](const auto& entry) {
      return entry.second.known.expired() && entry.second.work == nullptr;
    });
    Entry& entry = entries_[&voice];
    // A set-up keeps its voice alive, so a known one cannot be of another voice at this address.
    if (Shared known = entry.known.lock()) return last_ = std::move(known);
    if (entry.work == nullptr) return make_for_all(voice, progress, make, std::move(lock));
    // Whoever asks while making one, from its progress, would wait for itself, or for somebody who
    // waits for it.
    if (is_making(std::this_thread::get_id())) {
      lock.unlock();
      return make(progress);
    }
    const std::shared_ptr<const Work> work = entry.work;
    lock.unlock();
    if (Shared made = wait_for(*work, progress)) return made;
  }
}

bool VoiceSetups::is_making(std::thread::id thread) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.work != nullptr && entry.second.work->maker == thread;
  });
}

VoiceSetups::Shared VoiceSetups::make_for_all(const Voice& voice, const SetupProgress& progress,
                                              const Make& make, std::unique_lock<std::mutex> lock) {
  std::promise<Shared> promise;
  const auto work = std::make_shared<Work>();
  work->maker = std::this_thread::get_id();
  work->made = promise.get_future().share();
  entries_[&voice].work = work;
  lock.unlock();
  Shared made;
  const auto finish = [&] {
    lock.lock();
    Entry& entry = entries_[&voice];
    entry.work = nullptr;
    entry.known = made;
    if (made) last_ = made;
    lock.unlock();
    promise.set_value(made);
  };
  try {
    made = make([&](std::size_t done, std::size_t all) {
      {
        const std::lock_guard guard(mutex_);
        work->progress = {done, all};
      }
      if (progress) progress(done, all);
    });
  } catch (...) {
    finish();
    throw;
  }
  finish();
  return made;
}

VoiceSetups::Shared VoiceSetups::wait_for(const Work& work, const SetupProgress& progress) {
  while (work.made.wait_for(kTellEvery) != std::future_status::ready) {
    if (!progress) continue;
    Progress now;
    {
      const std::lock_guard guard(mutex_);
      now = work.progress;
    }
    if (now.all > 0) progress(now.done, now.all);
  }
  return work.made.get();
}

}  // namespace parley
