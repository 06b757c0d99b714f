// The CUDA and TensorRT providers' options; knows no graph.
#include "runners/ort/devices.h"

#include <algorithm>

#include "parley/errors.h"

namespace parley::ort {
namespace {

void check(const Library& library, Status* status, const std::string& device) {
  const Failure failure = library.take(status);
  if (failure.code == 0) return;
  throw LibraryError("[ort.open] expected ONNX Runtime " + library.version() +
                     " to start the device '" + device + "', got '" + failure.message + "'; do " +
                     device_remedy(device));
}

void require_provider(const Library& library, const std::string& provider,
                      const std::string& device) {
  const std::vector<std::string> all = library.providers();
  if (std::find(all.begin(), all.end(), provider) != all.end()) return;
  std::string names;
  for (const std::string& name : all) names += (names.empty() ? "" : ", ") + name;
  throw LibraryError("[ort.open] expected " + provider + " in '" + library.path() + "', got " +
                     names + "; do " + device_remedy(device));
}

void add_cuda(const Library& library, SessionOptions* options, const std::string& device,
              bool deterministic) {
  const Api& api = library.api();
  require_provider(library, "CUDAExecutionProvider", device);
  CudaOptions* raw = nullptr;
  check(library, api.create_cuda_options(&raw), device);
  const Handle<CudaOptions> cuda(raw, api.release_cuda_options);
  const char* keys[] = {"device_id", "use_tf32", "cudnn_conv_algo_search"};
  const char* values[] = {"0", deterministic ? "0" : "1", deterministic ? "DEFAULT" : "HEURISTIC"};
  check(library, api.update_cuda_options(cuda.get(), keys, values, 3), device);
  check(library, api.append_cuda(options, cuda.get()), device);
}

void add_tensorrt(const Library& library, SessionOptions* options, const std::string& device) {
  const Api& api = library.api();
  require_provider(library, "TensorrtExecutionProvider", device);
  TensorRtOptions* raw = nullptr;
  check(library, api.create_tensorrt_options(&raw), device);
  const Handle<TensorRtOptions> tensorrt(raw, api.release_tensorrt_options);
  const char* keys[] = {"device_id"};
  const char* values[] = {"0"};
  check(library, api.update_tensorrt_options(tensorrt.get(), keys, values, 1), device);
  check(library, api.append_tensorrt(options, tensorrt.get()), device);
}

}  // namespace

std::string device_remedy(const std::string& device) {
  std::string remedy = "`pip install onnxruntime-gpu` on a machine with an NVIDIA GPU";
  if (device == "tensorrt") remedy += " and TensorRT";
  return remedy + ", point PARLEY_ONNXRUNTIME at its library, or take the device 'cpu'";
}

void add_device(const Library& library, SessionOptions* options, const std::string& device,
                bool deterministic) {
  if (device == "cpu") return;
  if (device != "cuda" && device != "tensorrt") {
    throw InputError("[ort.open] expected the device cpu, cuda or tensorrt, got '" + device +
                     "'; do choose one of them");
  }
  // Providers are asked in the order they were added.
  if (device == "tensorrt") add_tensorrt(library, options, device);
  add_cuda(library, options, device, deterministic);
}

}  // namespace parley::ort
