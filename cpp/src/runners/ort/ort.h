// Opens ONNX graphs with an ONNX Runtime library found at run time; knows nothing of speech.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runners/runner.h"

namespace parley {

struct GraphOptions {
  std::string device = "cpu";  // cpu | cuda | tensorrt
  // 0: as many as the machine has cores. One pool of threads serves all graphs; it is made for the
  // first graph and goes with the last. A graph that is opened meanwhile with another number has a
  // pool of its own. The CPU repeats itself to the last bit for one number of threads.
  int threads = 0;
};

// `library`: path of libonnxruntime; empty: the environment's PARLEY_ONNXRUNTIME, else the loader's
// libonnxruntime.so.1. The graph is opened by path, so that external data beside it is mapped.
// Throws LibraryError (library or device missing, or too old) or BundleError (the graph).
//
// The runner: run() is const and may be called from several threads at once. The stop flag is
// looked at before and after the graph; a graph under way is not interrupted, so a cancelled run
// may still have written its outputs. It allocates nothing itself.
std::shared_ptr<const GraphRunner> open_graph(const std::string& library,
                                              const std::filesystem::path& graph,
                                              const GraphOptions& options);

// Operators beyond ONNX's own that any graph may use, as "domain.Name".
const std::vector<std::string>& graph_custom_ops();

// Operations of graphs that ran and which form each has, ours or ONNX Runtime's: see Forms in
// forms.h. What is set is not measured again.
std::string kernel_forms();
void set_kernel_forms(std::string_view text);

// For `parley doctor`: the library's version, and the devices it was built for, by its own names
// such as CPUExecutionProvider. Both throw LibraryError.
std::string onnxruntime_version(const std::string& library);
std::vector<std::string> onnxruntime_providers(const std::string& library);
// Opens the device and runs a graph of one node on it, alone. Throws LibraryError where it cannot.
// A driver that is at odds with its libraries may end the process: ask in one of its own.
void try_onnxruntime_device(const std::string& library, const std::string& device);

}  // namespace parley
