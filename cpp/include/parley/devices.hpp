// Microphones and loudspeakers for a live conversation, through PortAudio; it is opened at run
// time, so that programs without sound devices do not need it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "parley/live.hpp"

namespace parley {

struct AudioDevice {
  int index = -1;
  std::string name;
  std::string host;  // the system behind it, such as ALSA
  int inputs = 0;    // channels; 0: it has no microphone
  int outputs = 0;
  double hz = 0;  // the rate that it prefers
  bool default_input = false;
  bool default_output = false;
};

// All that there are now. Throws LibraryError where PortAudio cannot be opened. `library`: its
// path; empty: $PARLEY_PORTAUDIO, then the loader.
std::vector<AudioDevice> audio_devices(const std::string& library = {});

struct DeviceOptions {
  // An index, a part of a name, or empty for the system's default, which is followed when it
  // changes.
  std::string input;
  std::string output;
  std::string library;
};

// Runs a Live's callbacks from two streams of 10 ms blocks, float32, at the rates of its options,
// on PortAudio's own threads. A device that goes away ends nothing: silence goes in, what is said
// goes nowhere, and the device, or the default one, is taken as soon as it is there. The Live's
// events tell.
class DeviceStreams {
 public:
  // Throws LibraryError, and InputError for a device that is not there or does not open; the error
  // lists those that are.
  DeviceStreams(Live& live, const LiveOptions& rates, const DeviceOptions& options);
  ~DeviceStreams();  // before the Live's
  DeviceStreams(const DeviceStreams&) = delete;
  DeviceStreams& operator=(const DeviceStreams&) = delete;

  void stop();
  std::string input_name() const;
  std::string output_name() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace parley
