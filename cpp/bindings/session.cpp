// Sessions, steps and events for Python; converts and releases the GIL, nothing else.
#include "bindings.h"
#include "parley/parley.hpp"

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

// What `make` fills a chunk with; nothing where it makes no step.
template <typename T, typename Make>
std::optional<PyStep> step_of(PyTalk<T>& self, const Make& make) {
  PyStep result;
  result.samples = Floats(static_cast<py::ssize_t>(self.out_chunk_samples));
  const std::span<float> out(result.samples.mutable_data(), self.out_chunk_samples);
  const Released release;
  const std::optional<Step> made = make(*self.session, out);
  if (!made) return std::nullopt;
  const Step& step = *made;
  result.events.reserve(step.events.size());
  for (const Event& event : step.events) result.events.emplace_back(event, self.output_hz);
  result.timing = step.timing;
  result.floor = step.floor;
  result.index = step.index;
  return result;
}

template <typename T>
std::optional<PyStep> step(PyTalk<T>& self, const Floats& samples) {
  const std::span<const float> in = span_of(samples);
  return step_of(self, [&](T& session, std::span<float> out) {
    return std::optional<Step>(session.step(in, out));
  });
}

template <typename T>
std::optional<PyStep> next(PyTalk<T>& self) {
  return step_of(self, [](T& session, std::span<float> out) { return session.next(out); });
}

template <typename T>
void feed(PyTalk<T>& self, const Floats& samples, int hz) {
  const std::span<const float> in = span_of(samples);
  released([&] { self.session->feed(in, hz); });
}

// What a session and managed turns have in common.
template <typename T>
py::class_<PyTalk<T>, Held<PyTalk<T>>> register_talk(py::module_& module, const char* name_of) {
  using Self = PyTalk<T>;
  const auto release = py::call_guard<Released>();
  return py::class_<Self, Held<Self>>(module, name_of)
      .def("step", &step<T>, py::arg("samples"))
      .def("feed", &feed<T>, py::arg("samples"), py::arg("hz") = 0)
      .def("next", &next<T>)
      .def(
          "flush", [](Self& s) { s.session->flush(); }, release)
      .def_property_readonly("waiting", [](const Self& s) { return s.session->waiting(); })
      .def(
          "interrupt",
          [](Self& s, std::optional<std::int64_t> heard_until) {
            s.session->interrupt(heard_until);
          },
          py::arg("heard_until") = py::none(), release)
      .def(
          "cancel", [](Self& s) { s.session->cancel(); }, release)
      .def(
          "reset", [](Self& s) { s.session->reset(); }, release)
      .def("close",
           [](Self& s) {
             // Silent in a fork, whose `with` blocks end as the parent's do.
             if (!forked()) released([&] { s.session->close(); });
           })
      .def_property_readonly("floor", [](const Self& s) { return name(s.session->floor()); })
      .def_property_readonly("position", [](const Self& s) { return s.session->position(); })
      .def_property_readonly("delay_samples",
                             [](const Self& s) { return s.session->delay_samples(); })
      .def_property_readonly("input_delay_samples",
                             [](const Self& s) { return s.session->input_delay_samples(); });
}

PySession fork(const PySession& self) {
  return session_of(released([&] { return self.session->fork(); }), self.out_chunk_samples,
                    self.output_hz);
}

ManagedOptions managed_options(const py::kwargs& asked) {
  ManagedOptions options;
  const py::dict timers = asked["timers"];
  for (const TurnSetting& setting : kTurnSettings)
    if (timers.contains(setting.name.data()))
      options.timers.*setting.value = timers[setting.name.data()].cast<int>();
  options.threshold = asked["threshold"].cast<double>();
  options.vad = asked["vad"].cast<std::string>();
  const py::object end_of_turn = asked["end_of_turn"];
  if (end_of_turn.is_none()) return options;
  options.end_of_turn = [ask = shared(end_of_turn)](std::span<const float> turn, int hz) {
    double probability = 0;
    with_interpreter([&] {
      const Floats samples(static_cast<py::ssize_t>(turn.size()), turn.data());
      probability = py::handle(ask.get())(samples, hz).cast<double>();
    });
    return probability;
  };
  return options;
}

// Takes the session over.
Held<PyManaged> managed(const Bundle& bundle, PySession& session, const py::kwargs& asked) {
  const ManagedOptions options = managed_options(asked);
  PyManaged made =
      session_of(released([&] { return Managed(bundle, std::move(*session.session), options); }),
                 session.out_chunk_samples, session.output_hz);
  return Held<PyManaged>(new PyManaged(std::move(made)));
}

py::list take_turns(PyManaged& self) {
  py::list turns;
  for (const TurnReport& turn : self.session->take_turns()) turns.append(turn_dict(turn));
  return turns;
}

void register_resampler(py::module_& module) {
  const auto push = [](Resampler& resampler, const Floats& samples) {
    std::vector<float> out(resampler.max_output(static_cast<std::size_t>(samples.size())));
    out.resize(resampler.push(span_of(samples), out));
    return array_of(std::move(out));
  };
  const auto finish = [](Resampler& resampler) {
    std::vector<float> out(resampler.max_output(0));
    out.resize(resampler.finish(out));
    return array_of(std::move(out));
  };
  py::class_<Resampler>(
      module, "Resampler",
      "One stream of mono float samples [n] from a device's rate to a session's, "
      "or back: Resampler(48000, session.rate). Sample 0 stays where it is. Source: "
      "SpeexDSP's windowed sinc. Raises InputError for rates outside of 4000 to "
      "768000 Hz.")
      .def(py::init<int, int>(), py::arg("from_hz"), py::arg("to_hz"))
      .def("push", push, py::arg("samples"),
           "Takes samples [n] and returns those that became final; any cut gives the same.")
      .def("finish", finish, "The rest of the stream, as if silence followed; then another begins.")
      .def("reset", &Resampler::reset, "Begins another stream.");
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

void register_step(py::module_& module) {
  py::class_<PyStep>(module, "Step")
      .def_property_readonly("samples", [](const PyStep& s) { return s.samples; })
      .def_property_readonly("events", [](const PyStep& s) { return s.events; })
      .def_property_readonly("floor", [](const PyStep& s) { return name(s.floor); })
      .def_property_readonly("index", [](const PyStep& s) { return s.index; })
      .def_property_readonly("timing_ms", [](const PyStep& s) { return timing_ms(s.timing); })
      .def_property_readonly("bottleneck",
                             [](const PyStep& s) { return name(s.timing.bottleneck()); });
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

py::dict turn_dict(const TurnReport& turn) {
  py::dict result;
  result["number"] = turn.turn;
  result["speech_start_s"] = turn.speech_start;
  result["speech_end_s"] = turn.speech_end;
  result["pause_s"] = turn.pause;
  result["commit_s"] = turn.commit;
  result["audio_ready_s"] = turn.audio_ready;
  result["audio_out_s"] = turn.audio_out;
  result["reply_end_s"] = turn.reply_end;
  result["interrupted_s"] = turn.interrupted;
  result["calls_started"] = turn.calls_started;
  result["calls_cancelled"] = turn.calls_cancelled;
  result["calls_failed"] = turn.calls_failed;
  result["speculative"] = turn.speculative;
  result["wasted_tokens"] = turn.wasted_tokens;
  result["wasted_ms"] = turn.wasted_ms;
  result["false_interruptions"] = turn.false_interruptions;
  result["resume_gap_s"] = turn.resume_gap_s;
  result["false_endpoint"] = turn.false_endpoint;
  result["missed_endpoint"] = turn.missed_endpoint;
  result["failed"] = turn.failed;
  return result;
}

py::object event_of(const Event& event, int output_hz) {
  return py::cast(PyEvent{event, output_hz});
}

void register_session(py::module_& module) {
  register_event(module);
  register_resampler(module);
  register_step(module);
  const auto release = py::call_guard<Released>();
  register_talk<Session>(module, "Session")
      .def("fork", &fork)
      .def(
          "save", [](PySession& s, const std::string& path) { s.session->save(path); },
          py::arg("path"), release)
      .def(
          "end_turn", [](PySession& s) { s.session->end_turn(); }, release)
      .def(
          "send_text", [](PySession& s, const std::string& text) { s.session->send_text(text); },
          py::arg("text"), release)
      .def(
          "send_result",
          [](PySession& s, const std::string& name, const std::string& content) {
            s.session->send_result(name, content);
          },
          py::arg("name"), py::arg("content"), release)
      .def_property_readonly("mode", [](const PySession& s) { return name(s.session->mode()); });
  register_talk<Managed>(module, "Managed")
      .def(py::init(&managed), py::arg("bundle"), py::arg("session"))
      .def("take_turns", &take_turns)
      .def_property_readonly("mode", [](const PyManaged& s) {
        return s.session->mode() == Mode::turns ? std::string_view("managed") : "duplex";
      });
  py::dict timers;
  for (const TurnSetting& setting : kTurnSettings)
    timers[py::str(setting.name.data())] = TurnTimers{}.*setting.value;
  module.attr("TURN_TIMERS") = timers;
}

}  // namespace parley::bindings
