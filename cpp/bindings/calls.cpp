// Who is inside the engine, for the end of the interpreter and for forks; knows no call by name.
#include "calls.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "parley/log.hpp"

namespace parley::bindings {

namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 1s;

std::atomic<int> inside{0};
std::atomic<bool> used{false};
std::atomic<bool> is_forked{false};

struct Sessions {
  std::mutex mutex;
  std::vector<Closable> all;
};

// Never destroyed: a thread may still be inside the engine when the process ends.
Sessions& sessions() {
  static Sessions& instance = *new Sessions;
  return instance;
}

std::vector<std::pair<std::shared_ptr<void>, Closable>> open_sessions() {
  Sessions& known = sessions();
  const std::lock_guard lock(known.mutex);
  std::vector<std::pair<std::shared_ptr<void>, Closable>> found;
  for (const Closable& one : known.all)
    if (auto session = one.what.lock()) found.emplace_back(std::move(session), one);
  return found;
}

// Calls that can be cancelled leave the engine, and the sessions' threads end.
void settle() {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  const auto found = open_sessions();
  while (inside > 0 && std::chrono::steady_clock::now() < until) {
    for (const auto& [session, how] : found) how.cancel(session.get());
    std::this_thread::sleep_for(1ms);
  }
  if (inside > 0) return;
  for (const auto& [session, how] : found) how.close(session.get());
}

// The last that runs of the interpreter: no other thread can enter the engine any more. The
// libraries' static objects are destroyed soon, which must not happen under a thread that is
// inside, nor in a fork, where ONNX Runtime would wait for threads that are not there.
void end_calls() {
  set_log({});  // it would call Python
  if (!is_forked) settle();
#ifdef __GLIBC__
  // Registered now, so that it runs before what was registered by then.
  on_exit(
      [](int status, void*) {
        if (inside == 0 && !is_forked) return;
        std::fflush(nullptr);
        _exit(status);
      },
      nullptr);
#endif
}

void after_fork() {
  inside = 0;
  is_forked = is_forked || used;
}

}  // namespace

Unlocked::~Unlocked() {
  try {
    PyEval_RestoreThread(thread_);
  } catch (...) {  // no exception: the unwinding that ends a thread
    stay_for_ever();
  }
}

Inside::Inside() {
  if (is_forked) {
    throw LibraryError(
        "[engine.call] expected a process with the engine's own threads, got a fork of one that "
        "had used parley, which they are missing in; start processes with the method spawn or "
        "forkserver of multiprocessing, or use parley in the forked ones alone");
  }
  used = true;
  ++inside;
}

Inside::~Inside() {
  --inside;
}

Interpreter::Interpreter() {
  try {
    before_ = PyGILState_Ensure();
  } catch (...) {
    stay_for_ever();
  }
}

std::shared_ptr<PyObject> shared(const pybind11::object& object) {
  return {object.inc_ref().ptr(), [](PyObject* held) {
            if (Py_IsInitialized()) with_interpreter([held] { Py_DECREF(held); });
          }};
}

bool forked() noexcept {
  return is_forked;
}

void close_at_exit(Closable closable) {
  Sessions& known = sessions();
  const std::lock_guard lock(known.mutex);
  std::erase_if(known.all, [](const Closable& one) { return one.what.expired(); });
  known.all.push_back(std::move(closable));
}

void watch_exit_and_fork() {
  Py_AtExit(end_calls);
  static const int registered = pthread_atfork(nullptr, nullptr, after_fork);
  static_cast<void>(registered);
}

void stay_for_ever() noexcept {
  while (true) std::this_thread::sleep_for(std::chrono::hours(1));
}

}  // namespace parley::bindings
