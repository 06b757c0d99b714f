// The Python module parley._core: errors and registration; converts, does nothing else.
#include <string>

#include "bindings.h"
#include "parley/errors.hpp"

namespace parley::bindings {

namespace {

// A message may hold a path, which is bytes: what is no UTF-8 comes as os.fsdecode() gives it.
void set_error(const py::object& type, const char* what) {
  const auto size = static_cast<py::ssize_t>(std::char_traits<char>::length(what));
  const auto text =
      py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(what, size, "surrogateescape"));
  if (text) PyErr_SetObject(type.ptr(), text.ptr());
}

}  // namespace

void register_errors(py::module_& module) {
  // InputError is a ValueError too, so that callers may catch the usual type.
  static py::exception<Error> error(module, "Error", PyExc_RuntimeError);
  static py::exception<BundleError> bundle(module, "BundleError", error.ptr());
  const py::tuple bases = py::make_tuple(py::handle(error.ptr()), py::handle(PyExc_ValueError));
  static py::exception<InputError> input(module, "InputError", bases.ptr());
  static py::exception<ContextError> context(module, "ContextError", error.ptr());
  static py::exception<LibraryError> library(module, "LibraryError", error.ptr());
  static py::exception<CancelledError> cancelled(module, "CancelledError", error.ptr());
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const BundleError& e) {
      set_error(bundle, e.what());
    } catch (const InputError& e) {
      set_error(input, e.what());
    } catch (const ContextError& e) {
      set_error(context, e.what());
    } catch (const LibraryError& e) {
      set_error(library, e.what());
    } catch (const MemoryError& e) {
      set_error(py::reinterpret_borrow<py::object>(PyExc_MemoryError), e.what());
    } catch (const CancelledError& e) {
      set_error(cancelled, e.what());
    } catch (const Error& e) {
      set_error(error, e.what());
    }
  });
}

}  // namespace parley::bindings

PYBIND11_MODULE(_core, module) {
  module.attr("__version__") = PARLEY_VERSION;
  parley::bindings::watch_exit_and_fork();
  parley::bindings::register_errors(module);
  parley::bindings::register_session(module);
  parley::bindings::register_bundle(module);
  parley::bindings::register_workbench(module);
  parley::bindings::register_backbone_bench(module);
  parley::bindings::register_libraries(module);
  parley::bindings::register_live(module);
}
