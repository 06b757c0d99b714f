// Calls into the engine: the interpreter's lock is released, and neither exit nor fork hurts them.
#pragma once
#include <pybind11/pybind11.h>

#include <memory>
#include <optional>
#include <utility>

#include "parley/parley.hpp"

namespace parley::bindings {

// The interpreter's lock is released.
//
// When the interpreter ends meanwhile, the thread that has this stays in it for ever: Python before
// 3.14 would end such a thread by unwinding its stack, which C++ answers with std::terminate.
class Unlocked {
 public:
  Unlocked() : thread_(PyEval_SaveThread()) {}
  ~Unlocked();
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* thread_;
};

// A call is in the engine. Throws LibraryError in a process that was forked from one that had used
// the engine, whose threads did not come along.
class Inside {
 public:
  Inside();
  ~Inside();
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
};

// Both, for py::call_guard. A call is counted while the lock is held, so that the interpreter's end
// sees every one that can still begin, and no longer than it is in the engine.
class Released {
 public:
  Released() : inside_(std::in_place) { unlocked_.emplace(); }
  ~Released() { inside_.reset(); }  // before the lock is waited for
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

 private:
  std::optional<Unlocked> unlocked_;
  std::optional<Inside> inside_;
};

// What `work` gives, computed while other Python threads run.
template <typename Work>
auto released(const Work& work) {
  const Released guard;
  return work();
}

// Python is called from inside the engine; the thread stays for ever where the interpreter ends.
template <typename Work>
void with_interpreter(const Work& work);

// For what the engine copies and frees where it likes. Called by with_interpreter().
std::shared_ptr<PyObject> shared(const pybind11::object& object);

// Whether this process was forked from one that had used the engine.
bool forked() noexcept;

// Frees what Python held without its lock, since that may wait for a thread of the engine. In a
// forked process those threads are not there, so nothing is freed.
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    if (forked()) return;
    released([object] { delete object; });
  }
};
template <typename T>
using Held = std::unique_ptr<T, Freed>;

// What is still there when the interpreter ends is cancelled and closed then.
struct Closable {
  std::weak_ptr<void> what;
  void (*cancel)(void*);
  void (*close)(void*);
};
void close_at_exit(Closable closable);
template <typename T>
void close_at_exit(const std::shared_ptr<T>& session) {
  close_at_exit(Closable{session, [](void* s) { static_cast<T*>(s)->cancel(); },
                         [](void* s) { static_cast<T*>(s)->close(); }});
}

// Once per interpreter.
void watch_exit_and_fork();

[[noreturn]] void stay_for_ever() noexcept;

class Interpreter {
 public:
  Interpreter();
  ~Interpreter() { PyGILState_Release(before_); }
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

 private:
  PyGILState_STATE before_;
};

template <typename Work>
void with_interpreter(const Work& work) {
  const Interpreter guard;
  try {
    work();
  } catch (const std::exception&) {
    throw;
  } catch (...) {  // no exception: the unwinding that ends a thread
    stay_for_ever();
  }
}

}  // namespace parley::bindings
