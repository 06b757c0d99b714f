// A thread that does one task beside its owner's thread, again and again; knows no stage.
#include "session/worker.h"

#include <utility>

#include "base/thread_name.h"

namespace parley {

Worker::Worker(std::function<void()> task) : task_(std::move(task)), thread_([this] { loop(); }) {
  name_thread(thread_, "parley-beside");
}

Worker::~Worker() {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return phase_ != Phase::working; });
    phase_ = Phase::ending;
  }
  changed_.notify_all();
  thread_.join();
}

void Worker::start() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    phase_ = Phase::working;
  }
  changed_.notify_all();
}

void Worker::wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (phase_ == Phase::idle) return;
  changed_.wait(lock, [this] { return phase_ == Phase::over; });
  phase_ = Phase::idle;
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Worker::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return phase_ == Phase::working || phase_ == Phase::ending; });
    if (phase_ == Phase::ending) return;
    lock.unlock();
    std::exception_ptr error;
    try {
      task_();
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    error_ = std::move(error);
    phase_ = Phase::over;
    changed_.notify_all();
  }
}

}  // namespace parley
