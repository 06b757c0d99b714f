// PortAudio's functions, opened at run time; knows no conversation.
#pragma once
#include <portaudio.h>

#include <memory>
#include <string>

#include "runners/dynamic_library.h"

namespace parley::live {

// Initialised as long as somebody holds it; one per process and path.
class PortAudio {
 public:
  static std::shared_ptr<PortAudio> open(const std::string& given);
  ~PortAudio();

  decltype(&Pa_GetErrorText) error_text;
  decltype(&Pa_GetDeviceCount) device_count;
  decltype(&Pa_GetDeviceInfo) device_info;
  decltype(&Pa_GetHostApiInfo) host_info;
  decltype(&Pa_GetDefaultInputDevice) default_input;
  decltype(&Pa_GetDefaultOutputDevice) default_output;
  decltype(&Pa_OpenStream) open_stream;
  decltype(&Pa_StartStream) start_stream;
  decltype(&Pa_AbortStream) abort_stream;
  decltype(&Pa_CloseStream) close_stream;
  decltype(&Pa_IsStreamActive) is_active;

 private:
  explicit PortAudio(const std::string& path);

  DynamicLibrary library_;
  decltype(&Pa_Initialize) initialize_;
  decltype(&Pa_Terminate) terminate_;
};

}  // namespace parley::live
