// A PortAudio with a microphone of a steady tone and a loudspeaker, on threads that call every
// millisecond; devices come and go as a test says.
#include "stub_portaudio.h"

#include <portaudio.h>

#include <chrono>
#include <thread>
#include <vector>

namespace {

StubPortAudio state;

struct Stream {
  bool input = false;
  unsigned long block = 0;
  PaStreamCallback* callback = nullptr;
  void* user = nullptr;
  std::atomic<bool> active{false};
  std::thread thread;

  bool plugged() const { return input ? state.microphone : state.loudspeaker; }
  void run() {
    std::vector<float> samples(block, 0.01F);
    while (active) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (!plugged()) active = false;
      if (!active || state.silent) continue;
      callback(input ? samples.data() : nullptr, input ? nullptr : samples.data(), block, nullptr,
               0, user);
    }
  }
};

constexpr PaDeviceInfo kDevices[] = {
    {2, "stub microphone", 0, 1, 0, 0.01, 0, 0.1, 0, 48000},
    {2, "stub loudspeaker", 0, 0, 2, 0, 0.02, 0, 0.1, 48000},
};
constexpr PaHostApiInfo kHost = {1, paInDevelopment, "stub", 2, 0, 1};

}  // namespace

extern "C" {
StubPortAudio* stub_portaudio() {
  return &state;
}
PaError Pa_Initialize() {
  return paNoError;
}
PaError Pa_Terminate() {
  return paNoError;
}
const char* Pa_GetErrorText(PaError error) {
  return error == paInvalidSampleRate ? "Invalid sample rate" : "Device unavailable";
}
PaDeviceIndex Pa_GetDeviceCount() {
  return 2;
}
const PaDeviceInfo* Pa_GetDeviceInfo(PaDeviceIndex device) {
  return &kDevices[device];
}
const PaHostApiInfo* Pa_GetHostApiInfo(PaHostApiIndex) {
  return &kHost;
}
PaDeviceIndex Pa_GetDefaultInputDevice() {
  return state.microphone ? 0 : paNoDevice;
}
PaDeviceIndex Pa_GetDefaultOutputDevice() {
  return state.loudspeaker ? 1 : paNoDevice;
}
PaError Pa_OpenStream(PaStream** stream, const PaStreamParameters* in, const PaStreamParameters*,
                      double hz, unsigned long block, PaStreamFlags, PaStreamCallback* callback,
                      void* user) {
  if (hz > state.highest_hz) return paInvalidSampleRate;
  auto* made = new Stream;
  made->input = in != nullptr;
  made->block = block;
  made->callback = callback;
  made->user = user;
  if (!made->plugged()) {
    delete made;
    return paDeviceUnavailable;
  }
  ++state.opened;
  *stream = made;
  return paNoError;
}
PaError Pa_StartStream(PaStream* stream) {
  auto* started = static_cast<Stream*>(stream);
  started->active = true;
  started->thread = std::thread([started] { started->run(); });
  return paNoError;
}
PaError Pa_AbortStream(PaStream* stream) {
  static_cast<Stream*>(stream)->active = false;
  return paNoError;
}
PaError Pa_CloseStream(PaStream* stream) {
  auto* closed = static_cast<Stream*>(stream);
  closed->active = false;
  if (closed->thread.joinable()) closed->thread.join();
  delete closed;
  ++state.closed;
  return paNoError;
}
PaError Pa_IsStreamActive(PaStream* stream) {
  return static_cast<Stream*>(stream)->active ? 1 : 0;
}
}
