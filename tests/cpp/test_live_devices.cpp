// Devices on a stub PortAudio, with nano listening: what is listed, opened, refused, unplugged.
#include <dlfcn.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "check.h"
#include "parley/devices.hpp"
#include "stubs/stub_portaudio.h"

namespace {

using namespace parley;
using Kind = LiveEvent::Kind;

std::string library() {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "stub_portaudio.so");
}

StubPortAudio& stub() {
  void* opened = dlopen(library().c_str(), RTLD_NOW);
  REQUIRE(opened != nullptr);
  return *reinterpret_cast<StubPortAudio* (*)()>(dlsym(opened, "stub_portaudio"))();
}

DeviceOptions with(const std::string& input = "", const std::string& output = "") {
  return {input, output, library()};
}

// A conversation with nano on the stub's devices.
struct Talk {
  explicit Talk(const LiveOptions& options = {}) {
    const std::string here = __FILE__;
    const std::string nano = here.substr(0, here.rfind("tests/")) + "models/nano/bundle";
    if (!std::filesystem::exists(nano + "/manifest.json"))
      throw check::Skip{"no models/nano/bundle"};
    if (std::getenv("PARLEY_LLAMA") == nullptr) throw check::Skip{"no llama.cpp"};
    OpenOptions threads;
    threads.threads = 1;
    const Bundle bundle = Bundle::open(nano, threads);
    live.emplace(bundle, bundle.session({}), options);
    stub().microphone = stub().loudspeaker = true;
    stub().silent = false;
  }
  // Whether such an event comes within a time that only a fault needs.
  bool comes(Kind kind) {
    for (int i = 0; i < 2000; ++i) {
      const auto event = live->wait(0.01);
      if (event && event->kind == kind) {
        last = *event;
        return true;
      }
    }
    return false;
  }
  std::optional<Live> live;
  LiveEvent last;
};

TEST(devices_are_listed) {
  const std::vector<AudioDevice> devices = audio_devices(library());
  REQUIRE(devices.size() == 2);
  CHECK_EQ(devices[0].name, "stub microphone");
  CHECK_EQ(devices[0].host, "stub");
  CHECK_EQ(devices[0].inputs, 1);
  CHECK(devices[0].default_input && !devices[0].default_output);
  CHECK_EQ(devices[1].outputs, 2);
  CHECK(devices[1].default_output);
}

TEST(without_portaudio_the_error_says_how_to_get_it) {
  CHECK_THROWS_MSG(LibraryError, "libportaudio2", audio_devices("/nowhere/libportaudio.so.2"));
}

TEST(a_conversation_runs_on_devices_and_lets_go_of_them) {
  Talk talk;
  const int before = stub().closed;
  {
    DeviceStreams streams(*talk.live, {}, with("", "loudspeaker"));
    CHECK_EQ(streams.input_name(), "stub microphone");
    CHECK_EQ(streams.output_name(), "stub loudspeaker");
    talk.live->start();
    CHECK(talk.comes(Kind::step));
  }
  CHECK_EQ(stub().closed, before + 2);
}

TEST(a_device_that_is_not_there_is_refused_with_those_that_are) {
  Talk talk;
  CHECK_THROWS_MSG(InputError, "choose one of 0 \"stub microphone\"",
                   DeviceStreams(*talk.live, {}, with("headset")));
  CHECK_THROWS_MSG(InputError, "choose one of 1 \"stub loudspeaker\"",
                   DeviceStreams(*talk.live, {}, with("", "stub microphone")));
  stub().loudspeaker = false;
  const int before = stub().opened - stub().closed;
  CHECK_THROWS_MSG(InputError, "expected a loudspeaker, got no default one",
                   DeviceStreams(*talk.live, {}, with()));
  CHECK_EQ(stub().opened - stub().closed, before);  // the microphone is let go
}

TEST(a_rate_that_the_device_has_not_is_told) {
  LiveOptions options;
  options.capture_hz = options.render_hz = 96000;
  Talk talk(options);
  CHECK_THROWS_MSG(InputError, "opens at 96000 Hz, got \"Invalid sample rate\"",
                   DeviceStreams(*talk.live, options, with()));
}

void unplug_and_plug(std::atomic<bool>& plugged, std::int64_t side) {
  Talk talk;
  DeviceStreams streams(*talk.live, {}, with());
  talk.live->start();
  CHECK(talk.comes(Kind::step));
  plugged = false;
  CHECK(talk.comes(Kind::device_lost));
  CHECK_EQ(talk.last.count, side);
  CHECK(talk.comes(Kind::step));  // silence stands in, the conversation goes on
  CHECK(talk.comes(Kind::step));
  plugged = true;
  CHECK(talk.comes(Kind::device_found));
  CHECK_EQ(talk.last.count, side);
  CHECK(talk.comes(Kind::step));
}

TEST(a_microphone_that_goes_away_ends_nothing) {
  unplug_and_plug(stub().microphone, 0);
}

TEST(a_loudspeaker_that_goes_away_ends_nothing) {
  unplug_and_plug(stub().loudspeaker, 1);
}

TEST(streams_that_fall_silent_without_a_word_are_opened_again) {
  Talk talk;
  DeviceStreams streams(*talk.live, {}, with());
  talk.live->start();
  CHECK(talk.comes(Kind::step));
  stub().silent = true;
  CHECK(talk.comes(Kind::device_lost));
  stub().silent = false;
  CHECK(talk.comes(Kind::device_found));
}

}  // namespace
