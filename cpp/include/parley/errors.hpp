// The exceptions that cross parley's public face; knows no stage and no library.
#pragma once
#include <stdexcept>
#include <string>

namespace parley {

// Every message reads `[room.verb] expected ..., got ...; VERB ...`, such as `; export the bundle
// again`.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A bundle, its manifest or one of its files is damaged, incomplete or of an unknown kind.
class BundleError : public Error {
 public:
  using Error::Error;
};

// The caller's audio, ids or arguments cannot be used. Nothing was lost: the session is as before.
class InputError : public Error {
 public:
  using Error::Error;
};

// Another thread is inside the session.
class BusyError : public InputError {
 public:
  using InputError::InputError;
};

// The session is closed.
class ClosedError : public InputError {
 public:
  using InputError::InputError;
};

// The request does not fit into the model's context.
class ContextError : public Error {
 public:
  using Error::Error;
};

// A library or a device is missing, or is of a version that does not fit.
class LibraryError : public Error {
 public:
  using Error::Error;
};

// The system gives no more memory, or no more threads.
class MemoryError : public Error {
 public:
  using Error::Error;
};

// Session::cancel() stopped the work under way. The session is as before the step.
class CancelledError : public Error {
 public:
  using Error::Error;
};

}  // namespace parley
