// Single stages for Python's verification; converts, does nothing else.
#include "bench/workbench.h"

#include "bindings.h"
#include "stages/flow/noise.h"

namespace parley::bindings {

namespace {

using namespace py::literals;

using Ids = std::vector<std::int32_t>;
using Class = py::class_<Workbench, Held<Workbench>>;

std::size_t z_of(const Workbench& bench) {
  return bench.bundle().manifest().flow.z;
}

py::tuple cut_turn_of(const Workbench& bench, const Floats& samples) {
  TurnSegments cut = released([&] { return bench.cut(span_of(samples)); });
  py::list segments;
  for (std::vector<float>& segment : cut.segments) segments.append(array_of(std::move(segment)));
  return py::make_tuple(segments, cut.n_features);
}

py::tuple encode_segment(const Workbench& bench, const Floats& log_mel) {
  EncoderProbe::Rows rows = released([&] { return bench.encode_segment(span_of(log_mel)); });
  return py::make_tuple(rows_of(std::move(rows.encoded), bench.encoded_width()),
                        rows_of(std::move(rows.features), bench.bundle().encoder()->width()));
}

Floats log_mel(const Workbench& bench, const Floats& segment) {
  std::vector<float> frames = released([&] { return bench.log_mel(span_of(segment)); });
  const auto n_mels = static_cast<std::size_t>(bench.bundle().manifest().front_end.n_mels);
  return rows_of(std::move(frames), frames.size() / n_mels);
}

Floats feed(Workbench& bench, const Ids& ids, const std::optional<Floats>& features) {
  const auto rows = features ? span_of(*features) : std::span<const float>();
  const std::span<const float> logits = released([&] { return bench.feed(ids, rows); });
  return array_of({logits.begin(), logits.end()});
}

Floats flow_field(const Workbench& bench, const Floats& inputs, float t) {
  if (inputs.ndim() != 3) {
    throw InputError("[workbench.flow_field] expected [batch, frames, width], got rank " +
                     std::to_string(inputs.ndim()) + "; reshape the inputs");
  }
  const py::ssize_t z = static_cast<py::ssize_t>(z_of(bench));
  const auto size = [&](int i) { return static_cast<std::size_t>(inputs.shape(i)); };
  return array_of(released([&] { return bench.flow_field(span_of(inputs), size(0), size(1), t); }),
                  {inputs.shape(0), inputs.shape(1), z});
}

py::tuple flow_decode(const Workbench& bench, const Ids& codes, const std::optional<Floats>& noise,
                      std::uint64_t seed) {
  const auto start = noise ? span_of(*noise) : std::span<const float>();
  Workbench::Flow flow = released([&] { return bench.flow_decode(codes, start, seed); });
  const std::size_t z = z_of(bench);
  return py::make_tuple(rows_of(std::move(flow.latents), z),
                        rows_of(std::move(flow.trajectory.first_step), z),
                        rows_of(std::move(flow.trajectory.final_step), z));
}

void register_hearing(Class& bench) {
  bench
      .def(py::init([](const Bundle& bundle, const std::string& voice, const std::string& flow,
                       const std::optional<Floats>& noise) {
             const auto given = noise ? span_of(*noise) : std::span<const float>();
             return released([&] {
               return new Workbench(Bundle::Impl::of(bundle), voice, parse_flow_settings(flow),
                                    {given.begin(), given.end()});
             });
           }),
           py::arg("bundle"), py::arg("voice") = "", py::arg("flow") = "",
           py::arg("noise") = py::none())
      .def(
          "resample",
          [](const Workbench& b, const Floats& samples, int from_hz, int to_hz) {
            return array_of(released([&] { return b.resample(span_of(samples), from_hz, to_hz); }));
          },
          py::arg("samples"), py::arg("from_hz"), py::arg("to_hz"))
      .def("cut_turn", &cut_turn_of, py::arg("samples"))
      .def("log_mel", &log_mel, py::arg("segment"))
      .def("encode_segment", &encode_segment, py::arg("log_mel"))
      .def(
          "turn_features",
          [](const Workbench& b, const Floats& samples, std::optional<bool> short_segments) {
            return rows_of(
                released([&] { return b.turn_features(span_of(samples), short_segments); }),
                b.bundle().encoder()->width());
          },
          py::arg("samples"), py::arg("short_segments") = py::none())
      .def(
          "chunk_features",
          [](const Workbench& b, const Floats& samples) {
            return rows_of(released([&] { return b.chunk_features(span_of(samples)); }),
                           b.bundle().encoder()->width());
          },
          py::arg("samples"));
}

void register_thinking(Class& bench) {
  const auto release = py::call_guard<Released>();
  bench
      .def(
          "tokenize",
          [](const Workbench& b, const std::string& text, bool special) {
            return b.bundle().tokens()->tokenize(text, special);
          },
          py::arg("text"), py::arg("special") = true, release)
      .def(
          "piece",
          [](const Workbench& b, std::int32_t token) {
            const TokenModel& tokens = *b.bundle().tokens();
            std::string bytes(tokens.piece(token, {}), '\0');
            tokens.piece(token, bytes);
            return py::bytes(bytes);
          },
          py::arg("token"))
      .def("turn_ids", &Workbench::turn_ids, py::arg("pieces"), py::arg("first"),
           py::arg("system") = py::none(), release)
      .def("reset_backbone", &Workbench::reset_backbone, release)
      .def("feed", &feed, py::arg("ids"), py::arg("features") = py::none())
      .def(
          "begin_turn", [](Workbench& b, const Ids& ids) { b.begin_turn(ids); }, py::arg("ids"),
          release)
      .def(
          "pick", [](Workbench& b, const Floats& logits) { return b.pick(span_of(logits)); },
          py::arg("logits"), release);
}

void register_sound(Class& bench) {
  const auto release = py::call_guard<Released>();
  bench.def("flow_field", &flow_field, py::arg("inputs"), py::arg("t"))
      .def("flow_decode", &flow_decode, py::arg("codes"), py::arg("noise") = py::none(),
           py::arg("seed") = 0)
      .def("flow_begin", &Workbench::flow_begin, py::arg("seed") = 0, release)
      .def(
          "flow_push",
          [](Workbench& b, const Ids& codes, bool last) {
            return rows_of(released([&] { return b.flow_push(codes, last); }), z_of(b));
          },
          py::arg("codes"), py::arg("last") = false)
      .def(
          "flow_noise",
          [](const Workbench& b, std::int64_t first, std::size_t n, std::uint64_t seed) {
            std::vector<float> rows(n * z_of(b));
            released([&] { fill_flow_noise(seed, 0, first, z_of(b), rows); });
            return rows_of(std::move(rows), z_of(b));
          },
          py::arg("first"), py::arg("n"), py::arg("seed") = 0)
      .def("flow_costs",
           [](const Workbench& b) {
             const FlowProbe::Costs costs = b.flow_costs();
             return py::dict("voice_bytes"_a = costs.voice_bytes,
                             "state_bytes"_a = costs.state_bytes,
                             "setup_evaluations"_a = costs.setup_evaluations,
                             "prompt_frames"_a = costs.prompt_frames);
           })
      .def(
          "flow_stream",
          [](Workbench& b, const Ids& codes, std::uint64_t seed, std::size_t cut) {
            return rows_of(released([&] { return b.flow_stream(codes, seed, cut); }), z_of(b));
          },
          py::arg("codes"), py::arg("seed") = 0, py::arg("cut") = 4)
      .def(
          "vocode",
          [](const Workbench& b, const Floats& latents, const std::optional<Floats>& noise) {
            const auto given = noise ? span_of(*noise) : std::span<const float>();
            return array_of(released([&] { return b.vocode(span_of(latents), given); }));
          },
          py::arg("latents"), py::arg("noise") = py::none())
      .def(
          "vocode_stream",
          [](const Workbench& b, const Floats& latents, std::size_t cut) {
            return array_of(released([&] { return b.vocode_stream(span_of(latents), cut); }));
          },
          py::arg("latents"), py::arg("cut") = 16)
      .def("vocoder_stream", &Workbench::vocoder_stream, py::arg("lookahead") = std::nullopt,
           release);
}

}  // namespace

void register_workbench(py::module_& module) {
  py::class_<VocoderStream, Held<VocoderStream>>(module, "VocoderStream")
      .def("begin", &VocoderStream::begin, py::call_guard<Released>())
      .def(
          "push",
          [](VocoderStream& s, const Floats& latents, bool last) {
            return array_of(released([&] { return s.push(span_of(latents), last); }));
          },
          py::arg("latents"), py::arg("last") = false);
  Class bench(module, "Workbench");
  register_hearing(bench);
  register_thinking(bench);
  register_sound(bench);
}

}  // namespace parley::bindings
