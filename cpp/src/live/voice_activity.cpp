// Silero VAD through a runner, and when its probabilities are speech.
#include "live/voice_activity.h"

#include <algorithm>
#include <array>

#include "parley/errors.hpp"

namespace parley::live {

namespace {

constexpr std::size_t kContext = 64;  // samples of the block before, in front of each
constexpr std::size_t kState = std::size_t{2} * 128;
constexpr double kHysteresis = 0.15;

class SileroScorer final : public SpeechScorer {
 public:
  explicit SileroScorer(std::shared_ptr<const GraphRunner> graph) : graph_(std::move(graph)) {
    const std::vector<std::vector<std::int64_t>> wanted = {
        {1, kContext + kBlock}, {2, 1, 128}, {1, 1}, {2, 1, 128}};
    std::vector<TensorSpec> found = graph_->inputs();
    found.insert(found.end(), graph_->outputs().begin(), graph_->outputs().end());
    bool same = found.size() == wanted.size();
    for (std::size_t i = 0; same && i < found.size(); ++i)
      same = found[i].type == DType::f32 && found[i].shape == wanted[i];
    if (!same) {
      throw BundleError(
          "[voice_activity.open] expected Silero VAD's graph with input [1, 576] and state [2, 1, "
          "128], got another one; pass the file of parley's third_party/silero_vad");
    }
  }

  // Without the context the graph runs and never hears speech.
  double score(std::span<const float> block) override {
    std::copy(block.begin(), block.end(), input_.begin() + kContext);
    std::vector<float>& now = states_[current_];
    std::vector<float>& next = states_[1 - current_];
    float probability = 0;
    const TensorView inputs[] = {view(input_.data(), {1, kContext + kBlock}),
                                 view(now.data(), {2, 1, 128})};
    const TensorView outputs[] = {view(&probability, {1, 1}), view(next.data(), {2, 1, 128})};
    graph_->run(inputs, outputs, StopFlag());
    current_ = 1 - current_;
    std::copy(input_.end() - kContext, input_.end(), input_.begin());
    return probability;
  }

  void reset() override {
    input_.fill(0);
    for (std::vector<float>& state : states_) std::fill(state.begin(), state.end(), 0.0F);
  }

 private:
  std::shared_ptr<const GraphRunner> graph_;
  std::array<float, kContext + kBlock> input_{};
  std::array<std::vector<float>, 2> states_{std::vector<float>(kState), std::vector<float>(kState)};
  std::size_t current_ = 0;
};

}  // namespace

std::unique_ptr<SpeechScorer> make_silero_scorer(std::shared_ptr<const GraphRunner> graph) {
  return std::make_unique<SileroScorer>(std::move(graph));
}

VoiceActivity::VoiceActivity(std::unique_ptr<SpeechScorer> scorer,
                             const VoiceActivityOptions& options, int hz)
    : scorer_(std::move(scorer)), options_(options), hz_(hz), resampler_(hz, SpeechScorer::kHz) {}

std::span<const VoiceActivity::Change> VoiceActivity::push(std::span<const float> samples) {
  changes_.clear();
  piece_.resize(resampler_.max_output(samples.size()));
  const std::size_t made = resampler_.push(samples, piece_);
  waiting_.insert(waiting_.end(), piece_.begin(),
                  piece_.begin() + static_cast<std::ptrdiff_t>(made));
  while (waiting_.size() >= SpeechScorer::kBlock) take_block();
  return changes_;
}

void VoiceActivity::take_block() {
  const double p = scorer_->score(std::span(waiting_).first(SpeechScorer::kBlock));
  waiting_.erase(waiting_.begin(), waiting_.begin() + SpeechScorer::kBlock);
  const std::int64_t begin = taken_;
  taken_ += SpeechScorer::kBlock;
  const bool loud = p >= options_.threshold;
  if (loud == speaks_) {
    since_.reset();
    return;
  }
  if (!since_) {
    if (speaks_ && p >= options_.threshold - kHysteresis) return;
    since_ = begin;
  }
  const int hold_ms = speaks_ ? options_.release_ms : options_.onset_ms;
  if (taken_ - *since_ < std::int64_t{hold_ms} * SpeechScorer::kHz / 1000) return;
  speaks_ = !speaks_;
  changes_.push_back({speaks_, place(taken_), place(*since_)});
  since_.reset();
}

std::int64_t VoiceActivity::place(std::int64_t sample) const {
  return sample * hz_ / SpeechScorer::kHz;
}

void VoiceActivity::reset() {
  scorer_->reset();
  resampler_.reset();
  waiting_.clear();
  since_.reset();
  taken_ = 0;
  speaks_ = false;
}

}  // namespace parley::live
