// Sessions, steps and events for Python; converts and releases the GIL, nothing else.
#include "bindings.h"
#include "parley/parley.h"

namespace parley::bindings {

namespace {

// An event that outlives its step.
struct PyEvent {
  PyEvent(const Event& e, int hz)
      : event(e), text(e.text), codes(e.codes.begin(), e.codes.end()), rate(hz) {}
  Event event;
  std::string text;
  std::vector<std::int32_t> codes;
  int rate;
};

// A step that outlives the session's next one: its own samples and events.
struct PyStep {
  Floats samples;
  std::vector<PyEvent> events;
  Timing timing;
  Floor floor = Floor::listening;
  std::int64_t index = 0;
};

PyStep step(PySession& self, const Floats& samples) {
  PyStep result;
  result.samples = Floats(static_cast<py::ssize_t>(self.out_chunk_samples));
  const std::span<const float> in = span_of(samples);
  const std::span<float> out(result.samples.mutable_data(), self.out_chunk_samples);
  const Released release;
  const Step step = self.session->step(in, out);
  result.events.reserve(step.events.size());
  for (const Event& event : step.events) result.events.emplace_back(event, self.output_hz);
  result.timing = step.timing;
  result.floor = step.floor;
  result.index = step.index;
  return result;
}

void register_event(py::module_& module) {
  py::class_<PyEvent>(module, "Event")
      .def_property_readonly("kind", [](const PyEvent& e) { return name(e.event.kind); })
      .def_property_readonly("sample", [](const PyEvent& e) { return e.event.sample; })
      .def_property_readonly(
          "time_s", [](const PyEvent& e) { return static_cast<double>(e.event.sample) / e.rate; })
      .def_property_readonly("token", [](const PyEvent& e) { return e.event.token; })
      .def_property_readonly("text", [](const PyEvent& e) { return e.text; })
      .def_property_readonly("codes", [](const PyEvent& e) { return e.codes; })
      .def_property_readonly("reason", [](const PyEvent& e) { return name(e.event.reason); })
      .def_property_readonly("count", [](const PyEvent& e) { return e.event.count; });
}

}  // namespace

py::dict timing_ms(const Timing& timing) {
  const auto ms = [](std::int64_t ns) { return static_cast<double>(ns) * 1e-6; };
  py::dict result;
  for (std::size_t i = 0; i < kStages; ++i)
    result[py::str(kStageNames[i].data())] = ms(timing.stage_ns[i]);
  result["engine"] = ms(timing.engine_ns());
  result["total"] = ms(timing.total_ns);
  return result;
}

py::object event_of(const Event& event, int output_hz) {
  return py::cast(PyEvent{event, output_hz});
}

void register_session(py::module_& module) {
  register_event(module);
  py::class_<PyStep>(module, "Step")
      .def_property_readonly("samples", [](const PyStep& s) { return s.samples; })
      .def_property_readonly("events", [](const PyStep& s) { return s.events; })
      .def_property_readonly("floor", [](const PyStep& s) { return name(s.floor); })
      .def_property_readonly("index", [](const PyStep& s) { return s.index; })
      .def_property_readonly("timing_ms", [](const PyStep& s) { return timing_ms(s.timing); })
      .def_property_readonly("bottleneck",
                             [](const PyStep& s) { return name(s.timing.bottleneck()); });

  const auto release = py::call_guard<Released>();
  py::class_<PySession, Held<PySession>>(module, "Session")
      .def("step", &step, py::arg("samples"))
      .def(
          "end_turn", [](PySession& s) { s.session->end_turn(); }, release)
      .def(
          "send_text", [](PySession& s, const std::string& text) { s.session->send_text(text); },
          py::arg("text"), release)
      .def(
          "interrupt",
          [](PySession& s, std::optional<std::int64_t> heard_until) {
            s.session->interrupt(heard_until);
          },
          py::arg("heard_until") = py::none(), release)
      .def(
          "cancel", [](PySession& s) { s.session->cancel(); }, release)
      .def(
          "reset", [](PySession& s) { s.session->reset(); }, release)
      .def("close",
           [](PySession& s) {
             // Silent in a fork, whose `with` blocks end as the parent's do.
             if (!forked()) released([&] { s.session->close(); });
           })
      .def_property_readonly(
          "mode",
          [](const PySession& s) { return s.session->mode() == Mode::turns ? "turns" : "duplex"; })
      .def_property_readonly("floor", [](const PySession& s) { return name(s.session->floor()); })
      .def_property_readonly("position", [](const PySession& s) { return s.session->position(); })
      .def_property_readonly("delay_samples",
                             [](const PySession& s) { return s.session->delay_samples(); })
      .def_property_readonly("input_delay_samples",
                             [](const PySession& s) { return s.session->input_delay_samples(); });
}

}  // namespace parley::bindings
