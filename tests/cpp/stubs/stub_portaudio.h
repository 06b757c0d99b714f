// What a test tells the stub PortAudio, and what it sees of it.
#pragma once
#include <atomic>

struct StubPortAudio {
  std::atomic<bool> microphone{true};  // is plugged in; a stream of one that is not ends
  std::atomic<bool> loudspeaker{true};
  std::atomic<bool> silent{false};  // callbacks stop, and no error tells it
  std::atomic<int> highest_hz{48000};
  std::atomic<int> opened{0};
  std::atomic<int> closed{0};
};
