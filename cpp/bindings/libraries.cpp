// The vendor libraries for Python: versions, devices, messages; converts and releases the GIL,
// nothing else.
#include "bindings.h"
#include "parley/log.hpp"
#include "runners/llama/model.h"
#include "runners/ort/ort.h"

namespace parley::bindings {
namespace {

py::str text_of(std::string_view bytes) {
  const auto size = static_cast<py::ssize_t>(bytes.size());
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(bytes.data(), size, "replace"));
}

void set_python_log(const py::object& log) {
  if (forked()) return;  // a call of the last one may never end here
  Log function;
  if (!log.is_none()) {
    function = [log = shared(log)](LogLevel level, std::string_view library,
                                   std::string_view text) {
      with_interpreter([&] {
        try {
          py::handle(log.get())(static_cast<int>(level), text_of(library), text_of(text));
        } catch (py::error_already_set& error) {
          error.discard_as_unraisable("parley's log");
        }
      });
    };
  }
  const Unlocked unlocked;
  set_log(std::move(function));
}

py::bytes variant_of(const std::string& library) {
  return released([&] { return llama_variant_of(library); });
}

std::vector<py::bytes> variants_of(const std::string& library) {
  const std::vector<std::string> files = released([&] { return llama_variants(library); });
  return {files.begin(), files.end()};
}

// `importance`: of weights by their names.
void quantize(const std::string& library, const std::string& source, const std::string& target,
              const py::kwargs& given) {
  QuantizeOptions options;
  options.file_type = py::cast<int>(given["file_type"]);
  options.threads = py::cast<int>(given["threads"]);
  options.rows_bytes = py::cast<std::size_t>(given["rows_bytes"]);
  options.requantize = py::cast<bool>(given["requantize"]);
  for (const auto& [name, columns] : py::cast<py::dict>(given["importance"])) {
    const auto values = span_of(py::cast<Floats>(columns));
    options.importance.push_back({py::cast<std::string>(name), {values.begin(), values.end()}});
  }
  released([&] { quantize_gguf(library, source, target, options); });
}

}  // namespace

// Whoever holds the GIL here would wait for a thread that wants it for a message.
void register_libraries(py::module_& module) {
  const auto release = py::call_guard<Released>();
  module.def("onnxruntime_version", &onnxruntime_version, py::arg("library") = "", release);
  module.def("llama_version", &llama_version_of, py::arg("library") = "", release);
  module.def("llama_variant", &variant_of, py::arg("library") = "");
  module.def("llama_variants", &variants_of, py::arg("library"));
  module.def("quantize_gguf", &quantize, py::arg("library"), py::arg("source"), py::arg("target"));
  module.def("try_onnxruntime_device", &try_onnxruntime_device, py::arg("library"),
             py::arg("device"), release);
  module.def("kernel_forms", &kernel_forms, release);
  module.def("set_kernel_forms", &set_kernel_forms, py::arg("text"), release);
  module.def("set_log", &set_python_log, py::arg("log").none(true));
}

}  // namespace parley::bindings
