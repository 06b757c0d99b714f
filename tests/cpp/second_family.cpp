// Opens a bundle of the tests' second family, which the engine's table does not hold, and talks.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "bundle/bundle.h"

using namespace parley;

namespace {

bool refused(const char* folder) {
  try {
    Bundle::open(folder, {});
  } catch (const BundleError& error) {
    std::printf("%s\n", error.what());
    const std::string_view told = error.what();
    return told.find("one of the families covo_audio, ") != std::string_view::npos &&
           told.find(", got \"second\"; use a parley that knows it") != std::string_view::npos;
  }
  return false;
}

// Whether it takes the floor and its sound is finite, within ten seconds of noise.
bool answers(const Bundle& bundle) {
  SessionOptions options;
  options.mode = Mode::duplex;
  options.temperature = 1.0F;  // random weights: the likeliest ids could repeat one kind for ever
  Session session = bundle.session(options);
  std::vector<float> in(bundle.chunk_samples()), out(bundle.out_chunk_samples());
  std::mt19937 draw(0);
  std::normal_distribution<float> noise(0.0F, 0.1F);
  bool spoke = false, sound = false;
  for (int n = 0; n < 60; ++n) {
    for (float& sample : in) sample = noise(draw);
    spoke |= session.step(in, out).floor == Floor::speaking;
    for (float sample : out) {
      if (!std::isfinite(sample)) return false;
      sound |= sample != 0.0F;
    }
  }
  std::printf("spoke: %d, sound: %d\n", spoke, sound);
  return spoke && sound;
}

}  // namespace

int main(int, char** arguments) {
  const char* folder = arguments[1];
  if (!refused(folder)) return 1;
  // All that the table takes: a name, and what builds the stages.
  const std::vector<Family> families{{"second", build_stages}};
  OpenOptions options;
  options.threads = 1;
  return answers(Bundle(std::make_shared<const Bundle::Impl>(folder, options, families))) ? 0 : 1;
}
