// The Python module parley._core: errors and registration; converts, does nothing else.
#include "bindings.h"
#include "parley/errors.h"

namespace parley::bindings {

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
      py::set_error(bundle, e.what());
    } catch (const InputError& e) {
      py::set_error(input, e.what());
    } catch (const ContextError& e) {
      py::set_error(context, e.what());
    } catch (const LibraryError& e) {
      py::set_error(library, e.what());
    } catch (const CancelledError& e) {
      py::set_error(cancelled, e.what());
    } catch (const Error& e) {
      py::set_error(error, e.what());
    }
  });
}

}  // namespace parley::bindings

PYBIND11_MODULE(_core, module) {
  module.attr("__version__") = PARLEY_VERSION;
  parley::bindings::register_errors(module);
  parley::bindings::register_session(module);
  parley::bindings::register_bundle(module);
  parley::bindings::register_workbench(module);
  parley::bindings::register_backbone_bench(module);
  parley::bindings::register_libraries(module);
}
