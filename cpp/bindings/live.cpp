// Live conversations and sound devices for Python; converts and releases the GIL, nothing else.
// No audio callback comes here: devices are run in C++, where nobody waits for the interpreter.
#include <array>
#include <mutex>

#include "bindings.h"
#include "calls.h"
#include "parley/devices.hpp"
#include "parley/live.hpp"

namespace parley::bindings {

namespace {

constexpr std::array<std::string_view, 3> kTaps = {"microphone", "heard", "said"};
constexpr std::size_t kMostRecorded = 24000 * 120;  // samples of a tap that wait to be taken

// What was tapped and not yet taken.
struct Tapped {
  std::mutex lock;
  std::array<std::vector<float>, kTaps.size()> samples;
};

struct PyLive {
  LiveOptions options;
  int output_hz = 24000;
  std::shared_ptr<Tapped> tapped;
  std::unique_ptr<Live> live;
  std::unique_ptr<DeviceStreams> devices;  // goes first
};

template <typename T>
Held<PyLive> make(const Bundle& bundle, PyTalk<T>& session, const LiveOptions& options,
                  bool record) {
  auto made =
      std::make_unique<PyLive>();  // not yet Held, which frees with the lock that is not held
  made->options = options;
  made->output_hz = bundle.output_hz();
  made->live = std::make_unique<Live>(bundle, std::move(*session.session), options);
  if (record) {
    made->tapped = std::make_shared<Tapped>();
    made->live->record([tapped = made->tapped](LiveTap tap, std::span<const float> samples) {
      const std::lock_guard<std::mutex> guard(tapped->lock);
      std::vector<float>& kept = tapped->samples[static_cast<std::size_t>(tap)];
      if (kept.size() < kMostRecorded) kept.insert(kept.end(), samples.begin(), samples.end());
    });
  }
  return Held<PyLive>(made.release());
}

py::dict recorded(PyLive& self) {
  std::array<std::vector<float>, kTaps.size()> taken;
  if (self.tapped) {
    const std::lock_guard<std::mutex> guard(self.tapped->lock);
    std::swap(taken, self.tapped->samples);
  }
  py::dict result;
  for (std::size_t i = 0; i < kTaps.size(); ++i)
    result[py::str(kTaps[i].data())] = array_of(std::move(taken[i]));
  return result;
}

py::dict event_dict(const LiveEvent& event, int output_hz) {
  py::dict result;
  result["kind"] = name(event.kind);
  result["sample"] = event.sample;
  result["time_s"] = static_cast<double>(event.sample) / output_hz;
  result["count"] = event.count;
  result["text"] = py::bytes(event.text);
  result["floor"] = name(event.floor);
  result["stage"] = name(event.stage);
  result["lag_s"] = event.lag_s;
  if (event.kind == LiveEvent::Kind::session) {
    Event whole = event.event;
    whole.text = event.text;
    whole.codes = event.codes;
    result["event"] = event_of(whole, output_hz);
  }
  if (event.kind == LiveEvent::Kind::turn) result["turn"] = turn_dict(event.turn);
  if (event.kind == LiveEvent::Kind::step) result["timing_ms"] = timing_ms(event.timing);
  return result;
}

py::object wait(PyLive& self, double seconds) {
  const std::optional<LiveEvent> event = released([&] { return self.live->wait(seconds); });
  return event ? py::object(event_dict(*event, self.output_hz)) : py::none();
}

py::dict statistics(const PyLive& self) {
  const LiveStatistics now = self.live->statistics();
  py::dict result;
  result["steps"] = now.steps;
  result["late"] = now.late;
  result["missing"] = now.missing;
  result["dropped"] = now.dropped;
  result["skipped"] = now.skipped;
  result["events_lost"] = now.events_lost;
  result["capture_level"] = now.capture_level;
  result["render_level"] = now.render_level;
  result["capture_queue_s"] = now.capture_queue_s;
  result["render_queue_s"] = now.render_queue_s;
  result["clock_drift_ppm"] = now.clock_drift_ppm;
  result["echo_found"] = now.echo_found;
  result["erle_db"] = now.erle_db;
  result["echo_delay_s"] = now.echo_delay_s;
  result["heard_sample"] = now.heard_sample;
  return result;
}

py::list devices(const std::string& library) {
  const std::vector<AudioDevice> found = released([&] { return audio_devices(library); });
  py::list result;
  for (const AudioDevice& device : found) {
    py::dict entry;
    entry["index"] = device.index;
    entry["name"] = device.name;
    entry["host"] = device.host;
    entry["inputs"] = device.inputs;
    entry["outputs"] = device.outputs;
    entry["rate"] = device.hz;
    entry["default_input"] = device.default_input;
    entry["default_output"] = device.default_output;
    result.append(entry);
  }
  return result;
}

void capture(PyLive& self, const Floats& samples) {
  self.live->capture(samples.data(), static_cast<std::size_t>(samples.size()));
}

Floats render(PyLive& self, std::size_t n) {
  Floats out(static_cast<py::ssize_t>(n));
  self.live->render(out.mutable_data(), n);
  return out;
}

void open_devices(PyLive& self, const std::string& input, const std::string& output,
                  const std::string& library) {
  self.devices = std::make_unique<DeviceStreams>(*self.live, self.options,
                                                 DeviceOptions{input, output, library});
}

// Silent in a fork, whose `with` blocks end as the parent's do.
void stop(PyLive& self) {
  if (forked()) return;
  released([&] {
    self.devices.reset();
    self.live->stop();
  });
}

LiveOptions options_of(int capture_hz, int render_hz, bool cancel_echo, double lead_s,
                       double render_latency_s) {
  LiveOptions options;
  options.capture_hz = capture_hz;
  options.render_hz = render_hz;
  options.cancel_echo = cancel_echo;
  options.lead_s = lead_s;
  options.render_latency_s = render_latency_s;
  return options;
}

}  // namespace

void register_live(py::module_& module) {
  const auto release = py::call_guard<Released>();
  module.def("audio_devices", &devices, py::arg("library") = "");
  const LiveOptions defaults;
  py::class_<LiveOptions>(module, "LiveOptions")
      .def(py::init(&options_of), py::kw_only(), py::arg("capture_hz") = defaults.capture_hz,
           py::arg("render_hz") = defaults.render_hz, py::arg("cancel_echo") = defaults.cancel_echo,
           py::arg("lead_s") = defaults.lead_s,
           py::arg("render_latency_s") = defaults.render_latency_s);
  py::class_<PyLive, Held<PyLive>>(module, "Live")
      .def(py::init(&make<Session>), py::arg("bundle"), py::arg("session"), py::arg("options"),
           py::arg("record") = false, release)
      .def(py::init(&make<Managed>), py::arg("bundle"), py::arg("session"), py::arg("options"),
           py::arg("record") = false, release)
      .def("open_devices", &open_devices, py::arg("input") = "", py::arg("output") = "",
           py::arg("library") = "", release)
      .def("capture", &capture, py::arg("samples"))
      .def("render", &render, py::arg("n"))
      .def(
          "start", [](PyLive& self) { self.live->start(); }, release)
      .def("stop", &stop)
      .def(
          "turn", [](PyLive& self) { return self.live->turn(); }, release)
      .def("wait", &wait, py::arg("seconds"))
      .def(
          "interrupt", [](PyLive& self) { self.live->interrupt(); }, release)
      .def(
          "mute", [](PyLive& self, bool on) { self.live->mute(on); }, py::arg("on"))
      .def("statistics", &statistics)
      .def("recorded", &recorded)
      .def_property_readonly("running", [](const PyLive& self) { return self.live->running(); })
      .def_property_readonly(
          "input_name",
          [](const PyLive& self) { return self.devices ? self.devices->input_name() : ""; })
      .def_property_readonly("output_name", [](const PyLive& self) {
        return self.devices ? self.devices->output_name() : "";
      });
}

}  // namespace parley::bindings
