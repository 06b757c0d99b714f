// For libraries that zig links: its start files lack what runs a library's destructors when it is closed.
// They would run when the program ends, and crash, since the library is gone by then.
extern "C" {
extern void* __dso_handle;
void __cxa_finalize(void*);
}
__attribute__((destructor)) static void finalize() {
  __cxa_finalize(&__dso_handle);
}
