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

// Sets an option for each keyword, by its name; another name is a TypeError, as in any call.
template <typename Options>
Options options_of(const py::kwargs& given) {
  Options options;
  const py::object self = py::cast(&options, py::return_value_policy::reference);
  for (const auto& [name, value] : given) {
    if (!py::hasattr(py::type::of(self), name))
      throw py::type_error("got an unexpected keyword argument '" +
                           py::str(name).cast<std::string>() + "'");
    py::setattr(self, name, value);
  }
  return options;
}

VoiceProgress progress_of(const py::object& progress) {
  return [progress = shared(progress)](std::size_t done, std::size_t all) {
    with_interpreter([&] {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (progress.get() != Py_None) py::handle(progress.get())(done, all);
    });
  };
}

py::array array_of_input(const GraphInput& input) {
  const char* type = input.type == "f32" ? "f4" : input.type == "f16" ? "f2" : "i8";
  return py::array(py::dtype(type),
                   std::vector<py::ssize_t>(input.shape.begin(), input.shape.end()),
                   input.data);  // without an owner: a copy
}

// Python's, called with a graph's name and {input: array}.
RunHook run_hook(const py::object& hook) {
  if (hook.is_none()) return {};
  return [hook = shared(hook)](std::string_view graph, std::span<const GraphInput> inputs) {
    with_interpreter([&] {
      py::dict arrays;
      for (const GraphInput& input : inputs) arrays[py::str(input.name)] = array_of_input(input);
      py::handle(hook.get())(py::str(graph), arrays);
    });
  };
}

// Python's, called with logits, ranges of ids and the id that was picked.
DrawHook draw_hook(const py::object& hook) {
  if (hook.is_none()) return {};
  return [hook = shared(hook)](const Draw& draw) {
    std::int32_t id = draw.id;
    with_interpreter([&] {
      std::vector<std::pair<std::int32_t, std::int32_t>> allowed;
      for (const IdRange& range : draw.allowed) allowed.emplace_back(range.begin, range.end);
      const Floats logits = array_of({draw.logits.begin(), draw.logits.end()});
      id = py::cast<std::int32_t>(py::handle(hook.get())(logits, allowed, draw.id));
    });
    return id;
  };
}

py::dict importance(const Bundle& bundle) {
  py::dict found;
  for (Importance& one : Bundle::Impl::of(bundle)->tokens()->importance())
    found[py::str(one.weight)] = array_of(std::move(one.columns));
  return found;
}

PySession session(const Bundle& bundle, SessionOptions options, const py::object& progress) {
  options.voice_progress = progress_of(progress);
  return session_of(released([&] { return bundle.session(options); }), bundle.out_chunk_samples(),
                    bundle.output_hz());
}

PySession resume(const Bundle& bundle, const std::string& path, const py::object& progress) {
  const VoiceProgress told = progress_of(progress);
  return session_of(released([&] { return bundle.resume(path, told); }), bundle.out_chunk_samples(),
                    bundle.output_hz());
}

void register_options(py::module_& module) {
  py::class_<OpenOptions>(module, "OpenOptions")
      .def(py::init(&options_of<OpenOptions>))
      .def_readwrite("onnxruntime", &OpenOptions::onnxruntime)
      .def_readwrite("llama", &OpenOptions::llama)
      .def_readwrite("device", &OpenOptions::device)
      .def_readwrite("threads", &OpenOptions::threads)
      .def_readwrite("verify", &OpenOptions::verify)
      .def_readwrite("kv", &OpenOptions::kv)
      .def_property(
          "flow", nullptr,
          [](OpenOptions& o, const std::string& json) { o.flow = parse_flow_settings(json); })
      .def_property(
          "on_run", [](const OpenOptions& o) { return static_cast<bool>(o.on_run); },
          [](OpenOptions& o, const py::object& hook) { o.on_run = run_hook(hook); })
      .def_readwrite("importance", &OpenOptions::importance);
  py::class_<SessionOptions>(module, "SessionOptions")
      .def(py::init(&options_of<SessionOptions>))
      .def_property(
          "mode",
          [](const SessionOptions& o) {
            return o.mode ? std::optional<std::string>(name(*o.mode)) : std::nullopt;
          },
          [](SessionOptions& o, const std::optional<std::string>& mode) {
            o.mode = mode ? std::optional<Mode>(mode_of(*mode)) : std::nullopt;
          })
      .def_readwrite("voice", &SessionOptions::voice)
      .def_readwrite("seed", &SessionOptions::seed)
      .def_readwrite("system", &SessionOptions::system)
      .def_readwrite("tools", &SessionOptions::tools)
      .def_readwrite("text_only", &SessionOptions::text_only)
      .def_readwrite("temperature", &SessionOptions::temperature)
      .def_readwrite("top_k", &SessionOptions::top_k)
      .def_readwrite("top_p", &SessionOptions::top_p)
      .def_readwrite("max_new_tokens", &SessionOptions::max_new_tokens)
      .def_readwrite("prefill_budget", &SessionOptions::prefill_budget)
      .def_readwrite("overlap", &SessionOptions::overlap)
      .def_property(
          "on_draw", [](const SessionOptions& o) { return static_cast<bool>(o.on_draw); },
          [](SessionOptions& o, const py::object& hook) { o.on_draw = draw_hook(hook); });
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
  for (Mode mode : bundle.modes()) names.emplace_back(name(mode));
  return names;
}

}  // namespace

void register_bundle(py::module_& module) {
  module.def(
      "read_manifest",
      [](const std::string& folder) { return to_python(read_manifest(folder).document); },
      py::arg("folder"));

  register_options(module);
  py::class_<Bundle, Held<Bundle>>(module, "Bundle")
      .def(py::init([](const std::string& folder, const OpenOptions& options) {
             return released([&] { return Bundle::open(folder, options); });
           }),
           py::arg("folder"), py::arg("options"))
      .def_property_readonly(
          "manifest",
          [](const Bundle& b) { return to_python(Bundle::Impl::of(b)->manifest().document); })
      .def_property_readonly("modes", &modes)
      .def_property_readonly("voices", &Bundle::voices)
      .def_property_readonly("chunk_samples", &Bundle::chunk_samples)
      .def_property_readonly("out_chunk_samples", &Bundle::out_chunk_samples)
      .def("session", &session, py::arg("options"), py::arg("progress") = py::none())
      .def("importance", &importance)
      .def("resume", &resume, py::arg("path"), py::arg("progress") = py::none())
      .def("resample", &resample, py::arg("samples"), py::arg("from_hz"));
}

}  // namespace parley::bindings
