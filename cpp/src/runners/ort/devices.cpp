// The CUDA and TensorRT providers' options; knows no graph.
#include "runners/ort/devices.h"

#include <algorithm>
#include <set>

#include "parley/errors.hpp"
#include "runners/ort/pip_libraries.h"

namespace parley::ort {
namespace {

constexpr const char* kOrElse = ", or take the device 'cpu'";

const char* provider_of(const std::string& device) {
  return device == "cuda" ? "CUDAExecutionProvider" : "TensorrtExecutionProvider";
}

void require_provider(const Library& library, const std::string& device) {
  const std::vector<std::string> all = library.providers();
  if (std::find(all.begin(), all.end(), provider_of(device)) != all.end()) return;
  std::string names;
  for (const std::string& name : all) names += (names.empty() ? "" : ", ") + name;
  throw LibraryError(std::string("[ort.open] expected ") + provider_of(device) + " in '" +
                     library.path() + "', got " + names +
                     "; install ONNX Runtime for CUDA (with pip: `pip uninstall onnxruntime`, "
                     "then `pip install 'onnxruntime-gpu[cuda,cudnn]'`) on a machine with an "
                     "NVIDIA GPU, point PARLEY_ONNXRUNTIME at its library" +
                     kOrElse);
}

// What a provider's start failed of: its own words, and those it logged.
std::string missing(const Failure& failure) {
  const std::string name = missing_library(failure.message);
  return name.empty() ? missing_library(last_log()) : name;
}

// Makes a call again as long as it fails for a library that pip put where the loader does not look.
template <typename Call>
void start(const Library& library, const std::string& device, Call call) {
  std::set<std::string> loaded;
  while (true) {
    clear_log();
    const Failure failure = library.take(call());
    if (failure.code == 0) return;
    const std::string name = missing(failure);
    if (!loaded.insert(name).second || !load_from_pip(library.file(), name))
      refuse_device(library, device, failure);
  }
}

// Whichever call is the first to need the provider's library loads it.
void add_cuda(const Library& library, OrtSessionOptions* options, const std::string& device) {
  const OrtApi& api = library.api();
  require_provider(library, "cuda");
  OrtCUDAProviderOptionsV2* raw = nullptr;
  start(library, device, [&] { return api.CreateCUDAProviderOptions(&raw); });
  const Handle<OrtCUDAProviderOptionsV2> cuda(raw, api.ReleaseCUDAProviderOptions);
  const char* keys[] = {"device_id", "use_tf32", "cudnn_conv_algo_search"};
  const char* values[] = {"0", "1", "HEURISTIC"};
  start(library, device, [&] { return api.UpdateCUDAProviderOptions(raw, keys, values, 3); });
  start(library, device,
        [&] { return api.SessionOptionsAppendExecutionProvider_CUDA_V2(options, raw); });
}

void add_tensorrt(const Library& library, OrtSessionOptions* options, const std::string& device) {
  const OrtApi& api = library.api();
  require_provider(library, "tensorrt");
  OrtTensorRTProviderOptionsV2* raw = nullptr;
  start(library, device, [&] { return api.CreateTensorRTProviderOptions(&raw); });
  const Handle<OrtTensorRTProviderOptionsV2> tensorrt(raw, api.ReleaseTensorRTProviderOptions);
  const char* keys[] = {"device_id"};
  const char* values[] = {"0"};
  start(library, device, [&] { return api.UpdateTensorRTProviderOptions(raw, keys, values, 1); });
  start(library, device,
        [&] { return api.SessionOptionsAppendExecutionProvider_TensorRT_V2(options, raw); });
}

}  // namespace

void refuse_device(const Library& library, const std::string& device, const Failure& failure) {
  const std::string name = missing(failure);
  std::string remedy;
  if (name.find("nvinfer") != std::string::npos || name.find("nvonnxparser") != std::string::npos) {
    remedy = "install TensorRT of that version (with pip: `pip install 'tensorrt-cu13<11'`)";
  } else if (!name.empty() && name.rfind("libcuda.so", 0) != 0) {
    remedy =
        "install CUDA and cuDNN of that version (with pip: `pip install "
        "'onnxruntime-gpu[cuda,cudnn]'`)";
  } else {
    remedy = "see whether `nvidia-smi` shows an NVIDIA GPU and a driver that is new enough";
  }
  throw LibraryError("[ort.open] expected ONNX Runtime " + library.version() +
                     " to start the device '" + device + "', got " +
                     (name.empty() ? "'" + failure.message + "'" : "no " + name) + "; " + remedy +
                     kOrElse);
}

void add_device(const Library& library, OrtSessionOptions* options, const std::string& device) {
  if (device == "cpu") return;
  if (device != "cuda" && device != "tensorrt") {
    throw InputError("[ort.open] expected the device cpu, cuda or tensorrt, got '" + device +
                     "'; choose one of them");
  }
  // Providers are asked in the order they were added.
  if (device == "tensorrt") add_tensorrt(library, options, device);
  add_cuda(library, options, device);
}

}  // namespace parley::ort
