// Voice activity: the packaged model on speech, silence and noise; onsets and ends from scores.
#include "live/voice_activity.h"

#include <cmath>
#include <filesystem>
#include <random>

#include "check.h"
#include "parley/errors.hpp"
#include "runner_support.h"
#include "runners/ort/ort.h"

namespace {

using namespace parley;
using namespace parley::live;

std::filesystem::path root() {
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
}

std::unique_ptr<SpeechScorer> silero() {
  support::need("PARLEY_ONNXRUNTIME");
  return make_silero_scorer(
      open_graph("", root() / "third_party/silero_vad/silero_vad.onnx", {.threads = 1}));
}

// The demo's recording, 24 kHz and 16 bit: what `make demo` answers.
std::vector<float> recording() {
  const std::string bytes =
      support::read_file(root() / "apps/parley_apps/data/conversation.wav").substr(44);
  std::vector<float> samples(bytes.size() / 2);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto low = static_cast<unsigned char>(bytes[2 * i]);
    const auto high = static_cast<signed char>(bytes[2 * i + 1]);
    samples[i] = static_cast<float>(high * 256 + low) / 32768.0F;
  }
  return samples;
}

const double kLoud = check::tolerance("VOICE_LOUD");

// Whether a recording has sound anywhere in [begin, end).
bool is_loud(const std::vector<float>& samples, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = std::max<std::int64_t>(0, begin);
       i < std::min<std::int64_t>(end, static_cast<std::int64_t>(samples.size())); ++i)
    if (std::abs(samples[static_cast<std::size_t>(i)]) > kLoud) return true;
  return false;
}

// Plays back scores, one a block.
class Scripted final : public SpeechScorer {
 public:
  explicit Scripted(std::vector<double> scores) : scores_(std::move(scores)) {}
  double score(std::span<const float>) override {
    return next_ < scores_.size() ? scores_[next_++] : 0.0;
  }
  void reset() override { next_ = 0; }

 private:
  std::vector<double> scores_;
  std::size_t next_ = 0;
};

std::vector<VoiceActivity::Change> changes(VoiceActivity& activity, std::span<const float> samples,
                                           std::size_t cut) {
  std::vector<VoiceActivity::Change> all;
  for (std::size_t at = 0; at < samples.size(); at += cut) {
    const auto found = activity.push(samples.subspan(at, std::min(cut, samples.size() - at)));
    all.insert(all.end(), found.begin(), found.end());
  }
  return all;
}

TEST(speech_is_found_where_it_sounds_and_nowhere_else) {
  const std::vector<float> samples = recording();
  VoiceActivity activity(silero(), {}, 24000);
  const auto found = changes(activity, samples, 3840);
  REQUIRE(found.size() >= 8);
  bool speaks = false;
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK_EQ(found[i].speech, !speaks);
    speaks = found[i].speech;
    CHECK(found[i].sample < found[i].at);
    // Sound begins or ends within 200 ms of what is told.
    CHECK(is_loud(samples, found[i].sample - 4800, found[i].sample + 4800));
    if (!found[i].speech) CHECK(is_loud(samples, found[i - 1].sample, found[i].sample));
  }
}

TEST(any_cut_gives_the_same_changes) {
  const std::vector<float> samples = recording();
  VoiceActivity whole(silero(), {}, 24000);
  const auto wanted = changes(whole, samples, samples.size());
  whole.reset();
  for (const std::size_t cut : {240U, 1111U}) {
    VoiceActivity pieces(silero(), {}, 24000);
    for (VoiceActivity* activity : {&whole, &pieces}) {
      const auto found = changes(*activity, samples, cut);
      REQUIRE(found.size() == wanted.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK_EQ(found[i].at, wanted[i].at);
        CHECK_EQ(found[i].sample, wanted[i].sample);
      }
      activity->reset();
    }
  }
}

TEST(silence_and_noise_are_no_speech) {
  std::mt19937 random(1);
  std::normal_distribution<float> noise(0.0F, 0.05F);
  std::vector<float> samples(std::size_t{24000} * 10);
  for (std::size_t i = samples.size() / 2; i < samples.size(); ++i) samples[i] = noise(random);
  VoiceActivity activity(silero(), {}, 24000);
  CHECK(changes(activity, samples, 3840).empty());
}

TEST(a_graph_of_another_kind_is_refused) {
  support::need("PARLEY_ONNXRUNTIME");
  try {
    make_silero_scorer(open_graph("", support::data("affine.onnx"), {.threads = 1}));
    CHECK(false);
  } catch (const BundleError& error) {
    CHECK(std::string(error.what()).starts_with("[voice_activity.open] expected Silero"));
  }
}

TEST(speech_takes_the_onset_and_ends_after_the_release) {
  // 32 ms a block: two are an onset of 50 ms, four a release of 100 ms.
  const std::vector<double> scores = {0.9, 0.1, 0.9, 0.6, 0.4, 0.9, 0.3, 0.4,
                                      0.6, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4};
  VoiceActivity activity(std::make_unique<Scripted>(scores), {}, 16000);
  const std::vector<float> samples(512 * scores.size() + 512);
  const auto found = changes(activity, samples, 512);
  REQUIRE(found.size() == 2);
  CHECK(found[0].speech);
  CHECK_EQ(found[0].sample, 2 * 512);
  CHECK_EQ(found[0].at, 4 * 512);
  CHECK(!found[1].speech);
  CHECK_EQ(found[1].sample, 9 * 512);  // the rest over the threshold began anew
  CHECK_EQ(found[1].at, 13 * 512);
  CHECK(!activity.speaks());
}

}  // namespace
