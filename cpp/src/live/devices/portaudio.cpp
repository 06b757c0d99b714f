// Looks the functions up and starts the library.
#include "live/devices/portaudio.h"

#include <map>
#include <mutex>

#include "parley/errors.hpp"

namespace parley::live {

namespace {

constexpr const char* kRemedy =
    "install PortAudio (Debian and Ubuntu: `apt-get install libportaudio2`), or name it in "
    "PARLEY_PORTAUDIO";

template <typename Function>
void look_up(const DynamicLibrary& library, Function& function, const char* symbol) {
  function = library.find<Function>(symbol);
  if (function != nullptr) return;
  throw LibraryError("[live.devices] expected PortAudio 19 with " + std::string(symbol) + ", got " +
                     library.path() + " without it; " + kRemedy);
}

void say_nothing(const char*, int, const char*, int, const char*, ...) {}

// ALSA and JACK write to stderr about everything that a machine does not have.
void quiet(const DynamicLibrary& library) {
  using AlsaHandler = void (*)(const char*, int, const char*, int, const char*, ...);
  using JackHandler = void (*)(const char*);
  if (const auto set = library.find<int (*)(AlsaHandler)>("snd_lib_error_set_handler"))
    set(say_nothing);
  for (const char* symbol : {"jack_set_error_function", "jack_set_info_function"})
    if (const auto set = library.find<void (*)(JackHandler)>(symbol)) set([](const char*) {});
}

}  // namespace

PortAudio::PortAudio(const std::string& path) : library_(path, kRemedy) {
  look_up(library_, initialize_, "Pa_Initialize");
  look_up(library_, terminate_, "Pa_Terminate");
  look_up(library_, error_text, "Pa_GetErrorText");
  look_up(library_, device_count, "Pa_GetDeviceCount");
  look_up(library_, device_info, "Pa_GetDeviceInfo");
  look_up(library_, host_info, "Pa_GetHostApiInfo");
  look_up(library_, default_input, "Pa_GetDefaultInputDevice");
  look_up(library_, default_output, "Pa_GetDefaultOutputDevice");
  look_up(library_, open_stream, "Pa_OpenStream");
  look_up(library_, start_stream, "Pa_StartStream");
  look_up(library_, abort_stream, "Pa_AbortStream");
  look_up(library_, close_stream, "Pa_CloseStream");
  look_up(library_, is_active, "Pa_IsStreamActive");
  quiet(library_);
  if (const PaError error = initialize_(); error != paNoError) {
    throw LibraryError("[live.devices] expected PortAudio to start, got \"" +
                       std::string(error_text(error)) + "\"; start the system's sound server");
  }
}

PortAudio::~PortAudio() {
  terminate_();
}

std::shared_ptr<PortAudio> PortAudio::open(const std::string& given) {
  static std::mutex lock;
  static std::map<std::string, std::weak_ptr<PortAudio>> opened;
  const std::string path = library_path(given, "PARLEY_PORTAUDIO", "libportaudio.so.2");
  const std::lock_guard<std::mutex> guard(lock);
  std::weak_ptr<PortAudio>& known = opened[path];
  if (auto library = known.lock()) return library;
  std::shared_ptr<PortAudio> library(new PortAudio(path));
  known = library;
  return library;
}

}  // namespace parley::live
