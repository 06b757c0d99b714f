// How a thread waits in ggml's barrier: it spins for some microseconds, which is enough where every thread has a core of
// its own, and then sleeps. ggml spins on: where other programs want the cores too, it burns the very time that the
// thread it waits for would need, at each of a pass's barriers, and a pass of a millisecond takes seconds.
// Included in the middle of ggml-cpu.c, which has the headers and ggml_thread_cpu_relax.
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PARLEY_SPINS
#define PARLEY_SPINS 2000
#endif

// Threads that sleep in any barrier: as long as there are none, nobody calls the kernel.
static atomic_int parley_sleepers;

static void parley_wait(atomic_int* passed, int old) {
  for (int spins = 0; spins < PARLEY_SPINS; ++spins) {
    if (atomic_load_explicit(passed, memory_order_relaxed) != old) return;
    ggml_thread_cpu_relax();
  }
  atomic_fetch_add(&parley_sleepers, 1);
  // The kernel compares *passed with `old` before the thread sleeps, so that no waking is missed.
  while (atomic_load(passed) == old)
    syscall(SYS_futex, passed, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
  atomic_fetch_sub(&parley_sleepers, 1);
}

static void parley_wake(atomic_int* passed) {
  if (atomic_load(&parley_sleepers) > 0)
    syscall(SYS_futex, passed, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}
#else
static void parley_wait(atomic_int* passed, int old) {
  while (atomic_load_explicit(passed, memory_order_relaxed) == old) ggml_thread_cpu_relax();
}
static void parley_wake(atomic_int* passed) {
  (void)passed;
}
#endif
