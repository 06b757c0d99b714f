// Talks in full duplex over pipes, 16 bit mono: a microphone on stdin, a loudspeaker on stdout.
// What the model says goes to stderr too, in words. It ends with the input.
#include <parley/parley.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>

int main(int count, char** arguments) try {
  if (count != 2) {
    std::fputs("usage: parley_example BUNDLE < microphone.raw > loudspeaker.raw\n", stderr);
    return 2;
  }
  const parley::Bundle bundle = parley::Bundle::open(arguments[1], {});
  std::fprintf(stderr, "%s\nin: %d Hz, %zu samples a chunk; out: %d Hz, %zu samples\n",
               bundle.notice().c_str(), bundle.input_hz(), bundle.chunk_samples(),
               bundle.output_hz(), bundle.out_chunk_samples());
  parley::Session session = bundle.session({.mode = parley::Mode::duplex});
  std::vector<std::int16_t> heard(bundle.chunk_samples()), said(bundle.out_chunk_samples());
  std::vector<float> in(heard.size()), out(said.size());
  while (std::fread(heard.data(), sizeof heard[0], heard.size(), stdin) == heard.size()) {
    std::ranges::transform(heard, in.begin(), [](std::int16_t s) { return s / 32768.0F; });
    const parley::Step step = session.step(in, out);
    for (const parley::Event& event : step.events) {
      if (event.kind == parley::EventKind::reply_started) std::fputs(">", stderr);
      std::fwrite(event.text.data(), 1, event.text.size(), stderr);
      if (event.kind == parley::EventKind::reply_ended) std::fputs("\n", stderr);
    }
    std::ranges::transform(out, said.begin(), [](float s) {
      return static_cast<std::int16_t>(std::lround(std::clamp(s, -1.0F, 1.0F) * 32767.0F));
    });
    std::fwrite(said.data(), sizeof said[0], said.size(), stdout);
    std::fflush(stdout);
  }
} catch (const parley::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
