// Names a thread, for debuggers and profilers; knows no task.
#pragma once
#if defined(__linux__)
#include <pthread.h>
#endif

namespace parley {

// `thread`: a std::thread. At most 15 characters; without effect where threads have no names.
template <typename Thread>
void name_thread([[maybe_unused]] Thread& thread, [[maybe_unused]] const char* name) {
#if defined(__linux__)
  pthread_setname_np(thread.native_handle(), name);
#endif
}

}  // namespace parley
