// Replaces the global allocator of one test program by one that counts; include it in one file
// only.
#pragma once
#include <atomic>
#include <cstdlib>
#include <new>

// How often anything was allocated so far, by any thread.
inline std::atomic<long>& allocations() {
  static std::atomic<long> count{0};
  return count;
}

void* operator new(std::size_t n) {
  ++allocations();
  if (void* memory = std::malloc(n > 0 ? n : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t n, std::align_val_t align) {
  ++allocations();
  const std::size_t a = static_cast<std::size_t>(align);
  if (void* memory = std::aligned_alloc(a, (n + a - 1) / a * a)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
