// A library that another one needs, found by its soname alone (see CMakeLists.txt); does nothing.
extern "C" int stub_needed() {
  return 1;
}
