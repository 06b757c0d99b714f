// A thread that does one task beside its owner's thread, again and again; knows no stage.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace parley {

// What happened before start() is seen by the task, and what the task did by the owner after
// wait(). Allocates nothing after construction unless the task throws.
class Worker {
 public:
  explicit Worker(std::function<void()> task);
  ~Worker();  // waits for the task under way
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The task begins, or begins once more. wait() comes in between.
  void start();
  // Returns when the task is over and rethrows what it threw; at once where none was started.
  void wait();

 private:
  enum class Phase : std::uint8_t { idle, working, over, ending };
  void loop();

  std::function<void()> task_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_ = Phase::idle;
  std::exception_ptr error_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace parley
