// Bundles of the C face.
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "handles.h"

using parley::c::given;
using parley::c::guarded;
using parley::c::text_of;

namespace {

// The SDK has the libraries in a folder beside libparley, so that it runs wherever it is unpacked.
// Empty where there is none, or where a variable names another.
std::string beside(const char* variable, const char* name) {
  Dl_info here{};
  if (std::getenv(variable) != nullptr) return {};
  if (dladdr(reinterpret_cast<const void*>(&parley_abi), &here) == 0) return {};
  const auto file = std::filesystem::path(here.dli_fname).parent_path() / "parley" / name;
  std::error_code none;
  return std::filesystem::is_regular_file(file, none) ? file.string() : std::string();
}

parley::OpenOptions open_options_of(const parley_open_options* from) {
  const auto options = parley::c::options_of("bundle.open", from);
  parley::OpenOptions to;
  to.threads = options.threads;
  to.onnxruntime = options.onnxruntime != nullptr
                       ? options.onnxruntime
                       : beside("PARLEY_ONNXRUNTIME", "libonnxruntime.so");
  to.llama = options.llama != nullptr ? options.llama : beside("PARLEY_LLAMA", "libllama.so");
  if (options.device != nullptr) to.device = options.device;
  if (options.kv != nullptr) to.kv = options.kv;
  to.flow = parley::parse_flow_settings(text_of(options.flow));
  to.verify = options.skip_hashes == 0;
  return to;
}

}  // namespace

extern "C" {

int32_t parley_bundle_open(const char* folder, const parley_open_options* options,
                           parley_bundle** bundle) {
  return guarded([&] {
    auto& to = given("bundle.open", "a place for the bundle", bundle);
    to = nullptr;
    const std::string from = &given("bundle.open", "a folder", folder);
    to = new parley_bundle{parley::Bundle::open(from, open_options_of(options))};
  });
}

void parley_bundle_free(parley_bundle* bundle) {
  delete bundle;
}

int32_t parley_bundle_get_facts(const parley_bundle* bundle, parley_bundle_facts* facts) {
  return guarded([&] {
    const parley::Bundle& from = given("bundle.facts", "a bundle", bundle).bundle;
    parley_bundle_facts to{};
    for (const parley::Mode mode : from.modes())
      to.modes |= 1U << (mode == parley::Mode::turns ? PARLEY_TURNS : PARLEY_DUPLEX);
    to.in_hz = from.input_hz();
    to.out_hz = from.output_hz();
    to.in_samples = from.chunk_samples();
    to.out_samples = from.out_chunk_samples();
    to.n_voices = bundle->voices.size();
    parley::c::give("bundle.facts", to, facts);
  });
}

const char* parley_bundle_voice(const parley_bundle* bundle, size_t index) {
  return bundle == nullptr || index >= bundle->voices.size() ? nullptr
                                                             : bundle->voices[index].c_str();
}

const char* parley_bundle_notice(const parley_bundle* bundle) {
  return bundle == nullptr ? "" : bundle->bundle.notice().c_str();
}

}  // extern "C"
