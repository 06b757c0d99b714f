// What the binding files share: one register function each, and arrays in and out.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <span>
#include <vector>

#include "calls.h"
#include "parley/managed.hpp"
#include "parley/parley.hpp"

namespace parley::bindings {

namespace py = pybind11;

void register_errors(py::module_& module);
void register_bundle(py::module_& module);
void register_session(py::module_& module);
void register_workbench(py::module_& module);
void register_backbone_bench(py::module_& module);
void register_libraries(py::module_& module);
void register_live(py::module_& module);

// A step's milliseconds by stage, with engine and total.
py::dict timing_ms(const Timing& timing);
// Times in seconds, None where something did not happen.
py::dict turn_dict(const TurnReport& turn);
// An event whose places are told in seconds too.
py::object event_of(const Event& event, int output_hz);

// A session, or managed turns.
template <typename T>
struct PyTalk {
  std::shared_ptr<T> session;
  std::size_t out_chunk_samples = 0;
  int output_hz = 0;
};
using PySession = PyTalk<Session>;
using PyManaged = PyTalk<Managed>;

// Open until it is closed or the interpreter ends.
template <typename T>
PyTalk<T> session_of(T made, std::size_t out_chunk_samples, int output_hz) {
  auto session = std::make_shared<T>(std::move(made));
  close_at_exit(session);
  return {std::move(session), out_chunk_samples, output_hz};
}

// Contiguous float32, converted where it is not; the caller keeps the array alive during the call.
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

inline std::span<const float> span_of(const Floats& array) {
  return {array.data(), static_cast<std::size_t>(array.size())};
}

// Hands the vector's memory to NumPy without a copy.
inline Floats array_of(std::vector<float> values, std::vector<py::ssize_t> shape = {}) {
  auto* owned = new std::vector<float>(std::move(values));
  const py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<float>*>(p); });
  if (shape.empty()) shape = {static_cast<py::ssize_t>(owned->size())};
  return Floats(shape, owned->data(), owner);
}

inline Floats rows_of(std::vector<float> values, std::size_t width) {
  const auto columns = static_cast<py::ssize_t>(width);
  const auto rows = static_cast<py::ssize_t>(width == 0 ? 0 : values.size() / width);
  return array_of(std::move(values), {rows, columns});
}

}  // namespace parley::bindings
