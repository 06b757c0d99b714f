// Two streams, and a thread that looks after them: devices come and go without a word.
#include "parley/devices.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "live/devices/portaudio.h"

namespace parley {

namespace {

using live::PortAudio;
using Clock = std::chrono::steady_clock;

constexpr auto kLook = std::chrono::milliseconds(20);
constexpr auto kReopen = std::chrono::milliseconds(500);
constexpr auto kStill = std::chrono::seconds(1);  // a stream without a callback for so long is dead
constexpr double kBlock = 0.01;                   // s

std::vector<AudioDevice> list(const PortAudio& pa) {
  std::vector<AudioDevice> devices;
  for (int i = 0; i < pa.device_count(); ++i) {
    const PaDeviceInfo* info = pa.device_info(i);
    if (info == nullptr) continue;
    const PaHostApiInfo* host = pa.host_info(info->hostApi);
    devices.push_back({i, info->name, host != nullptr ? host->name : "", info->maxInputChannels,
                       info->maxOutputChannels, info->defaultSampleRate, i == pa.default_input(),
                       i == pa.default_output()});
  }
  return devices;
}

std::string names(const std::vector<AudioDevice>& devices, bool input) {
  std::string text;
  for (const AudioDevice& device : devices) {
    if ((input ? device.inputs : device.outputs) == 0) continue;
    text += (text.empty() ? "" : ", ") + std::to_string(device.index) + " \"" + device.name + "\"";
  }
  return text.empty() ? "none" : text;
}

// One direction: its stream, and what is known of it.
struct Side {
  bool input = false;
  int hz = 48000;
  int channels = 1;
  std::string wanted;
  std::string name;
  PaStream* stream = nullptr;
  std::atomic<std::int64_t> frames{0};  // that callbacks moved
  std::int64_t frames_seen = 0;
  Clock::time_point moved_at;
  Clock::time_point tried_at;
  double owed_s = 0;  // silence that stands in for the device
  Live* live = nullptr;

  const char* word() const { return input ? "microphone" : "loudspeaker"; }
};

int callback(const void* in, void* out, unsigned long n, const PaStreamCallbackTimeInfo*,
             PaStreamCallbackFlags, void* user) {
  auto* side = static_cast<Side*>(user);
  if (side->input) {
    side->live->capture(in, n);
  } else {
    side->live->render(out, n);
  }
  side->frames.fetch_add(static_cast<std::int64_t>(n), std::memory_order_relaxed);
  return paContinue;
}

std::optional<int> find(const PortAudio& pa, const std::vector<AudioDevice>& devices,
                        const Side& side) {
  if (side.wanted.empty()) {
    const int index = side.input ? pa.default_input() : pa.default_output();
    return index == paNoDevice ? std::nullopt : std::optional(index);
  }
  for (const AudioDevice& device : devices) {
    const bool named = std::to_string(device.index) == side.wanted ||
                       device.name.find(side.wanted) != std::string::npos;
    if (named && (side.input ? device.inputs : device.outputs) > 0) return device.index;
  }
  return std::nullopt;
}

}  // namespace

std::vector<AudioDevice> audio_devices(const std::string& library) {
  return list(*PortAudio::open(library));
}

class DeviceStreams::Impl {
 public:
  Impl(Live& live, const LiveOptions& rates, const DeviceOptions& options)
      : pa_(PortAudio::open(options.library)), format_(rates.samples) {
    in_.input = true;
    in_.hz = rates.capture_hz;
    in_.channels = rates.capture_channels;
    in_.wanted = options.input;
    out_.hz = rates.render_hz;
    out_.channels = rates.render_channels;
    out_.wanted = options.output;
    for (Side* side : {&in_, &out_}) {
      side->live = &live;
      try {
        open(*side);
      } catch (...) {
        close(in_);
        throw;
      }
    }
    watcher_ = std::thread([this] { watch(); });
  }
  ~Impl() { stop(); }

  void stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (std::exchange(stopping_, true)) return;
      wake_.notify_all();
    }
    watcher_.join();
    close(in_);
    close(out_);
  }

  std::string name(bool input) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return input ? in_.name : out_.name;
  }

 private:
  void open(Side& side) {
    const std::vector<AudioDevice> devices = list(*pa_);
    const std::optional<int> index = find(*pa_, devices, side);
    const std::string where = std::string("[live.devices] expected a ") + side.word();
    const std::string there = "; choose one of " + names(devices, side.input);
    if (!index) {
      const std::string got = side.wanted.empty() ? "no default one" : "\"" + side.wanted + "\"";
      throw InputError(where + ", got " + got + there);
    }
    const PaDeviceInfo* info = pa_->device_info(*index);
    PaStreamParameters parameters{};
    parameters.device = *index;
    parameters.channelCount = side.channels;
    parameters.sampleFormat = format_ == SampleFormat::f32 ? paFloat32 : paInt16;
    parameters.suggestedLatency =
        side.input ? info->defaultLowInputLatency : info->defaultLowOutputLatency;
    const PaError error = pa_->open_stream(
        &side.stream, side.input ? &parameters : nullptr, side.input ? nullptr : &parameters,
        side.hz, static_cast<unsigned long>(kBlock * side.hz), paNoFlag, callback, &side);
    if (error != paNoError) {
      side.stream = nullptr;
      throw InputError(where + " that opens at " + std::to_string(side.hz) + " Hz, got \"" +
                       pa_->error_text(error) + "\" from \"" + info->name + "\", which prefers " +
                       std::to_string(static_cast<int>(info->defaultSampleRate)) + there);
    }
    side.name = info->name;
    side.frames_seen = side.frames;
    side.moved_at = Clock::now();
    if (const PaError started = pa_->start_stream(side.stream); started != paNoError) {
      close(side);
      throw InputError(where + " that starts, got \"" + pa_->error_text(started) + "\" from \"" +
                       info->name + "\"" + there);
    }
  }

  void close(Side& side) {
    if (side.stream == nullptr) return;
    pa_->abort_stream(side.stream);
    pa_->close_stream(side.stream);
    side.stream = nullptr;
  }

  void watch() {
    Clock::time_point last = Clock::now();
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopping_) {
      wake_.wait_for(lock, kLook);
      const Clock::time_point now = Clock::now();
      const double passed = std::chrono::duration<double>(now - last).count();
      last = now;
      for (Side* side : {&in_, &out_}) look_after(*side, now, passed);
    }
  }

  void look_after(Side& side, Clock::time_point now, double passed) {
    if (side.stream != nullptr) {
      if (const std::int64_t frames = side.frames; frames != side.frames_seen) {
        side.frames_seen = frames;
        side.moved_at = now;
      }
      if (pa_->is_active(side.stream) == 1 && now - side.moved_at < kStill) return;
      close(side);
      side.tried_at = now;
      side.owed_s = std::chrono::duration<double>(now - side.moved_at).count();
      side.live->tell_device(side.input, false, side.name);
    } else if (now - side.tried_at > kReopen) {
      side.tried_at = now;
      try {
        open(side);
        side.live->tell_device(side.input, true, side.name);
        return;
      } catch (const Error&) {  // not there yet
      }
    }
    stand_in(side, passed);
  }

  // Time goes on without the device: silence from the microphone, and the loudspeaker's is thrown
  // away.
  void stand_in(Side& side, double passed) {
    side.owed_s += passed;
    const auto block = static_cast<std::size_t>(kBlock * side.hz);
    silence_.assign(block * static_cast<std::size_t>(side.channels), 0.0F);
    for (; side.owed_s >= kBlock; side.owed_s -= kBlock) {
      if (side.input) {
        side.live->capture(silence_.data(), block);
      } else {
        side.live->render(silence_.data(), block);
      }
    }
  }

  std::shared_ptr<PortAudio> pa_;
  SampleFormat format_;
  Side in_;
  Side out_;
  std::vector<float> silence_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread watcher_;
};

DeviceStreams::DeviceStreams(Live& live, const LiveOptions& rates, const DeviceOptions& options)
    : impl_(std::make_unique<Impl>(live, rates, options)) {}
DeviceStreams::~DeviceStreams() = default;
void DeviceStreams::stop() {
  impl_->stop();
}
std::string DeviceStreams::input_name() const {
  return impl_->name(true);
}
std::string DeviceStreams::output_name() const {
  return impl_->name(false);
}

}  // namespace parley
