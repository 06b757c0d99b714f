// Bundles for Python; converts and releases the GIL, nothing else.
#include "bundle/bundle.h"
#include "audio/resampler.h"
#include "bindings.h"

namespace parley::bindings {

namespace {

py::object to_python(const json::Value& value) {
  switch (value.kind) {
    case json::Kind::null:
      return py::none();
    case json::Kind::boolean:
      return py::bool_(value.boolean);
    case json::Kind::number:
      if (value.is_int) return py::int_(value.integer);
      return py::float_(value.number);
    case json::Kind::string:
      return py::str(value.string);
    case json::Kind::array: {
      py::list list;
      for (const json::Value& item : value.array) list.append(to_python(item));
      return list;
    }
    case json::Kind::object: {
      py::dict dict;
      for (const json::Member& member : value.object)
        dict[py::str(member.first)] = to_python(member.second);
      return dict;
    }
  }
  return py::none();
}

Mode mode_of(const std::string& name) {
  if (name == "turns") return Mode::turns;
  if (name == "duplex") return Mode::duplex;
  throw InputError("[bundle.session] expected mode turns or duplex, got \"" + name +
                   "\"; choose one of them");
}

PySession session(const Bundle& bundle, const std::string& mode, const std::string& voice,
                  std::uint64_t seed, const std::optional<std::string>& system,
                  std::optional<float> temperature, std::optional<int> top_k,
                  std::optional<float> top_p, std::optional<int> max_new_tokens, int prefill_budget,
                  bool overlap, const py::object& progress) {
  SessionOptions options;
  if (!mode.empty()) options.mode = mode_of(mode);
  options.voice = voice;
  options.seed = seed;
  options.system = system;
  options.temperature = temperature;
  options.top_k = top_k;
  options.top_p = top_p;
  options.max_new_tokens = max_new_tokens;
  options.prefill_budget = prefill_budget;
  options.overlap = overlap;
  options.voice_progress = [progress = shared(progress)](std::size_t done, std::size_t all) {
    with_interpreter([&] {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (progress.get() != Py_None) py::handle(progress.get())(done, all);
    });
  };
  auto made = std::make_shared<Session>(released([&] { return bundle.session(options); }));
  close_at_exit(made);
  return {std::move(made), bundle.out_chunk_samples(), bundle.output_hz()};
}

Bundle open(const std::string& folder, const std::string& device, int threads, bool verify,
            const std::string& kv, const std::string& flow, const std::string& onnxruntime,
            const std::string& llama) {
  OpenOptions options;
  options.device = device;
  options.threads = threads;
  options.verify = verify;
  options.kv = kv;
  options.flow = flow;
  options.onnxruntime = onnxruntime;
  options.llama = llama;
  return released([&] { return Bundle::open(folder, options); });
}

// To the rate that sessions take, as the model's own front end does it.
Floats resample(const Bundle& bundle, const Floats& samples, int from_hz) {
  const FrontEndConfig& config = Bundle::Impl::of(bundle)->manifest().front_end;
  return array_of(released([&] {
    return parley::resample(span_of(samples), from_hz, bundle.input_hz(), config.resampler_zeros,
                            config.resampler_rolloff);
  }));
}

std::vector<std::string> modes(const Bundle& bundle) {
  std::vector<std::string> names;
  for (Mode mode : bundle.modes()) names.push_back(mode == Mode::turns ? "turns" : "duplex");
  return names;
}

}  // namespace

void register_bundle(py::module_& module) {
  module.def(
      "read_manifest",
      [](const std::string& folder) {
        read_manifest(folder);
        return to_python(read_manifest_document(folder));
      },
      py::arg("folder"));

  py::class_<Bundle, Held<Bundle>>(module, "Bundle")
      .def(py::init(&open), py::arg("folder"), py::kw_only(), py::arg("device") = "cpu",
           py::arg("threads") = 0, py::arg("verify") = true, py::arg("kv") = "f16",
           py::arg("flow") = "", py::arg("onnxruntime") = "", py::arg("llama") = "")
      .def_property_readonly(
          "manifest", [](const Bundle& b) { return to_python(Bundle::Impl::of(b)->document()); })
      .def_property_readonly("modes", &modes)
      .def_property_readonly("voices", &Bundle::voices)
      .def_property_readonly("chunk_samples", &Bundle::chunk_samples)
      .def_property_readonly("out_chunk_samples", &Bundle::out_chunk_samples)
      .def("session", &session, py::kw_only(), py::arg("mode") = "", py::arg("voice") = "",
           py::arg("seed") = 0, py::arg("system") = py::none(), py::arg("temperature") = py::none(),
           py::arg("top_k") = py::none(), py::arg("top_p") = py::none(),
           py::arg("max_new_tokens") = py::none(), py::arg("prefill_budget") = 0,
           py::arg("overlap") = false, py::arg("progress") = py::none())
      .def("resample", &resample, py::arg("samples"), py::arg("from_hz"));
}

}  // namespace parley::bindings
