// Counts every allocation of a test program; include it in one source file of the program only.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace check {

inline std::atomic<long>& allocation_count() {
  static std::atomic<long> count{0};
  return count;
}

// How many allocations `work` made.
template <typename Work>
long allocations(Work&& work) {
  const long before = allocation_count().load();
  work();
  return allocation_count().load() - before;
}

inline void* counted(std::size_t size) {
  allocation_count().fetch_add(1);
  if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}

}  // namespace check

// Not inlined: GCC would take the pairs for mismatched ones.
#define PARLEY_NOINLINE __attribute__((noinline))
PARLEY_NOINLINE void* operator new(std::size_t size) {
  return check::counted(size);
}
PARLEY_NOINLINE void* operator new[](std::size_t size) {
  return check::counted(size);
}
PARLEY_NOINLINE void operator delete(void* memory) noexcept {
  std::free(memory);
}
PARLEY_NOINLINE void operator delete[](void* memory) noexcept {
  std::free(memory);
}
PARLEY_NOINLINE void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
PARLEY_NOINLINE void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
