// Whether somebody speaks: a stream of samples becomes onsets and ends of speech; knows no turn.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parley/resampler.hpp"
#include "runners/runner.h"

namespace parley::live {

// Scores blocks of a stream, one behind the other.
class SpeechScorer {
 public:
  static constexpr int kHz = 16000;
  static constexpr std::size_t kBlock = 512;  // samples: 32 ms

  virtual ~SpeechScorer() = default;
  // Probability of speech in the next kBlock samples at kHz.
  virtual double score(std::span<const float> block) = 0;
  // The next block begins another stream.
  virtual void reset() = 0;
};

// Silero VAD's graph of fixed shapes (third_party/silero_vad), with the state that a stream carries
// from block to block. Throws BundleError for another graph.
std::unique_ptr<SpeechScorer> make_silero_scorer(std::shared_ptr<const GraphRunner> graph);

struct VoiceActivityOptions {
  double threshold = 0.5;  // of the probability
  int onset_ms = 50;       // so long above it is speech
  int release_ms = 100;    // so long below it is none
};

// Silero's own hysteresis: between the threshold and 0.15 under it nothing changes.
class VoiceActivity {
 public:
  struct Change {
    bool speech = false;
    std::int64_t at = 0;      // when it was known, in samples of the stream
    std::int64_t sample = 0;  // where the speech began or ended
  };
  // `hz`: of the stream, whose sample 0 is the first that push() gets.
  VoiceActivity(std::unique_ptr<SpeechScorer> scorer, const VoiceActivityOptions& options, int hz);

  // What changed in these samples, in order; valid until the next call. Any cut of a stream gives
  // the same changes.
  std::span<const Change> push(std::span<const float> samples);
  bool speaks() const { return speaks_; }
  void reset();

 private:
  void take_block();
  std::int64_t place(std::int64_t sample) const;  // of kHz, in the stream

  std::unique_ptr<SpeechScorer> scorer_;
  VoiceActivityOptions options_;
  int hz_;
  Resampler resampler_;
  std::vector<float> waiting_;  // at kHz
  std::vector<float> piece_;
  std::vector<Change> changes_;
  std::int64_t taken_ = 0;  // samples at kHz in whole blocks
  bool speaks_ = false;
  std::optional<std::int64_t> since_;  // at kHz: where what may be a change began
};

}  // namespace parley::live
