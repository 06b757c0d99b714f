// Log-mel against NumPy's numbers and brute-force formulas; commit, rollback, reset of the stream.
#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <random>

#include "audio/log_mel.h"
#include "audio/resampler.h"
#include "check.h"
#include "parley/errors.hpp"

using namespace parley;

namespace {

// Half a second per segment, 16 mels: small enough for tables and direct sums.
FrontEndConfig small_config() {
  FrontEndConfig config;
  config.n_mels = 16;
  config.segment_samples = 12000;
  return config;
}

FrontEndConfig without_resampler() {
  FrontEndConfig config = small_config();
  config.input_hz = 16000;
  config.segment_samples = 8000;
  return config;
}

// A sweep from 200 Hz to 3.2 kHz and 0.3 s long at 16 kHz.
std::vector<float> chirp() {
  std::vector<float> samples(4800);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double t = static_cast<double>(i) / 16000.0;
    samples[i] =
        static_cast<float>(0.5 * std::sin(2.0 * std::numbers::pi * (200.0 * t + 5000.0 * t * t)));
  }
  return samples;
}

std::vector<float> noise(std::size_t n) {
  std::mt19937 random(4);
  std::vector<float> samples(n);
  for (float& x : samples) x = std::uniform_real_distribution(-0.5F, 0.5F)(random);
  return samples;
}

std::vector<float> segment(const FrontEndConfig& config, std::span<const float> samples) {
  const SegmentLogMel mel(config);
  std::vector<float> out(mel.n_frames() * static_cast<std::size_t>(config.n_mels));
  mel.compute(samples, out);
  return out;
}

// `[n_mels, frames]` of all whole chunks, frames of a chunk side by side.
std::vector<float> chunks(ChunkLogMel& mel, std::span<const float> samples, std::size_t chunk,
                          std::size_t n_mels) {
  const std::size_t n_chunks = samples.size() / chunk;
  const std::size_t per_chunk = mel.frames_per_chunk();
  std::vector<float> out(n_mels * n_chunks * per_chunk);
  std::vector<float> one(n_mels * per_chunk);
  for (std::size_t c = 0; c < n_chunks; ++c) {
    mel.push(samples.subspan(c * chunk, chunk), one);
    mel.commit();
    for (std::size_t m = 0; m < n_mels; ++m) {
      std::copy_n(&one[m * per_chunk], per_chunk, &out[(m * n_chunks + c) * per_chunk]);
    }
  }
  return out;
}

double hz_of(double mel) {  // Slaney's scale
  return mel < 15.0 ? mel * 200.0 / 3.0 : 1000.0 * std::pow(6.4, (mel - 15.0) / 27.0);
}

// Power under one mel triangle by direct sums; `at(i)` is sample i of the frame.
template <typename Sample>
double mel_power(const FrontEndConfig& c, int mel, const Sample& at) {
  const double top = 15.0 + 27.0 * std::log(c.mel_max_hz / 1000.0) / std::log(6.4);
  const double step = top / (c.n_mels + 1);
  const double left = hz_of(step * mel);
  const double middle = hz_of(step * (mel + 1));
  const double right = hz_of(step * (mel + 2));
  double sum = 0.0;
  for (int bin = 0; bin <= c.n_fft / 2; ++bin) {
    const double hz = 1.0 * bin * c.encoder_hz / c.n_fft;
    if (hz <= left || hz >= right) continue;
    const double height =
        hz < middle ? (hz - left) / (middle - left) : (right - hz) / (right - middle);
    std::complex<double> value;
    for (int i = 0; i < c.n_fft; ++i) {
      const double angle = 2.0 * std::numbers::pi * i / c.n_fft;
      value += at(i) * std::pow(std::sin(angle / 2.0), 2.0) * std::polar(1.0, -angle * bin);
    }
    sum += std::norm(value) * height * 2.0 / (right - left);
  }
  return sum;
}

}  // namespace

// Every third mel of some frames, as numpy.fft.rfft, numpy.hanning(401)[:-1] and triangles by
// numpy.interp give them for chirp(), in float64.
TEST(log_mel_segment_equals_numpy) {
  const double tolerance = check::tolerance("LOG_MEL_TABLE_ABS");
  const struct {
    std::size_t frame;
    float mels[6];
  } expected[] = {
      {0, {1.268089F, 0.636840F, 0.356554F, 0.122816F, -0.088885F, -0.237549F}},
      {7, {-0.574882F, 1.027694F, 0.200336F, -0.692226F, -0.692226F, -0.692226F}},
      {29, {-0.142399F, -0.129790F, -0.097158F, 0.030945F, 0.319119F, -0.254687F}},
      {31, {-0.142610F, -0.129714F, -0.097182F, 0.030571F, 0.144544F, -0.254696F}},
  };
  const std::vector<float> got = segment(small_config(), chirp());
  REQUIRE(got.size() == 16 * 50);
  for (const auto& e : expected) {
    for (std::size_t m = 0; m < 6; ++m) CHECK_NEAR(got[3 * m * 50 + e.frame], e.mels[m], tolerance);
  }
}

TEST(log_mel_chunks_equal_numpy) {
  const double tolerance = check::tolerance("LOG_MEL_TABLE_ABS");
  const struct {
    std::size_t frame;
    float mels[6];
  } expected[] = {
      {0, {1.128998F, 0.464818F, 0.184280F, -0.049484F, -0.261191F, -0.409857F}},
      {1, {1.241065F, 0.264328F, -0.024630F, -0.258449F, -0.470188F, -0.500000F}},
      {15, {-0.500000F, -0.500000F, 0.354842F, 0.023097F, -0.500000F, -0.500000F}},
      {29, {-0.500000F, -0.500000F, -0.500000F, -0.500000F, 0.130212F, -0.500000F}},
  };
  ChunkLogMel mel(without_resampler(), 800);
  CHECK_EQ(mel.delay_samples(), 0U);
  const std::vector<float> got = chunks(mel, chirp(), 800, 16);
  REQUIRE(got.size() == 16 * 30);
  for (const auto& e : expected) {
    for (std::size_t m = 0; m < 6; ++m) CHECK_NEAR(got[3 * m * 30 + e.frame], e.mels[m], tolerance);
  }
}

TEST(log_mel_segment_follows_its_formula) {
  const double tolerance = check::tolerance("LOG_MEL_TABLE_ABS");
  FrontEndConfig c = small_config();
  c.n_fft = 60;  // and other sizes than the published ones
  c.hop = 25;
  c.n_mels = 7;
  c.segment_samples = 600;
  c.offset = 3.0;
  c.scale = 5.0;
  c.clamp_range = 3.0;
  for (const std::size_t n : {400U, 399U, 250U, 1U}) {
    const std::vector<float> samples = noise(n);
    std::vector<double> decades;
    for (int m = 0; m < c.n_mels; ++m) {
      for (int f = 0; f < 16; ++f) {
        const double power = mel_power(c, m, [&](int i) {
          int at = std::abs(f * c.hop - c.n_fft / 2 + i);
          if (at >= 400) at = 798 - at;
          return at < static_cast<int>(n)
                     ? static_cast<double>(samples[static_cast<std::size_t>(at)])
                     : 0.0;
        });
        decades.push_back(std::log10(std::max(power, 1e-10)));
      }
    }
    const double top = *std::max_element(decades.begin(), decades.end());
    const std::vector<float> got = segment(c, samples);
    REQUIRE(got.size() == decades.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      CHECK_NEAR(got[i], (std::max(decades[i], top - 3.0) + 3.0) / 5.0, tolerance);
    }
  }
}

// The stream is the whole signal behind the delay's zeros, resampled at once.
TEST(log_mel_chunks_follow_their_formula) {
  const double tolerance = check::tolerance("LOG_MEL_TABLE_ABS");
  FrontEndConfig c = small_config();
  c.n_fft = 60;
  c.hop = 20;
  c.n_mels = 7;
  c.chunk_frame_pad = 40;
  c.chunk_log_floor = 1e-4;
  const std::vector<float> samples = noise(600);
  ChunkLogMel mel(c, 60);
  CHECK_EQ(mel.frames_per_chunk(), 2U);
  CHECK_EQ(mel.delay_samples(), 12U);  // the resampler's 10, rounded up to 8 whole encoder samples
  const std::vector<float> got = chunks(mel, samples, 60, 7);
  std::vector<float> delayed(12, 0.0F);
  delayed.insert(delayed.end(), samples.begin(), samples.end());
  const std::vector<float> encoder = resample(delayed, 24000, 16000, 6, 0.99);
  for (int m = 0; m < 7; ++m) {
    for (int f = 0; f < 20; ++f) {
      const double power = mel_power(c, m, [&](int i) {
        const int at = 20 * (f + 1) - 60 + i;
        return at < 0 ? 0.0 : static_cast<double>(encoder[static_cast<std::size_t>(at)]);
      });
      const double expected = (std::log10(std::max(power, 1e-4)) + 4.0) / 4.0;
      CHECK_NEAR(got[static_cast<std::size_t>(m * 20 + f)], expected, tolerance);
    }
  }
}

TEST(log_mel_of_silence_is_the_floor) {
  for (const std::size_t n : {0U, 1U, 8000U}) {
    for (const float value : segment(small_config(), std::vector<float>(n, 0.0F))) {
      CHECK_EQ(value, -1.5F);
    }
  }
  ChunkLogMel mel(small_config(), 1200);
  for (const float value : chunks(mel, std::vector<float>(3600, 0.0F), 1200, 16)) {
    CHECK_EQ(value, -0.5F);
  }
}

TEST(log_mel_does_not_depend_on_the_size_of_a_chunk) {
  const std::vector<float> samples = noise(7200);
  ChunkLogMel one(small_config(), 240);
  ChunkLogMel ten(small_config(), 2400);
  CHECK(chunks(one, samples, 240, 16) == chunks(ten, samples, 2400, 16));
}

TEST(log_mel_stream_rolls_back_and_resets) {
  const std::vector<float> samples = noise(4800);
  const auto chunk = [&](std::size_t i) { return std::span(samples).subspan(i * 1200, 1200); };
  const std::size_t n = 16 * 5;
  ChunkLogMel mel(small_config(), 1200);
  REQUIRE(mel.frames_per_chunk() * 16 == n);
  std::vector<std::vector<float>> expected(3, std::vector<float>(n));
  for (std::size_t i = 0; i < 3; ++i) mel.push(chunk(i), expected[i]);
  std::vector<float> got(n);

  mel.rollback();  // nothing was committed: as new
  mel.push(chunk(0), got);
  CHECK(got == expected[0]);
  mel.commit();
  mel.push(chunk(3), got);  // thrown away
  mel.push(chunk(2), got);
  mel.rollback();
  mel.push(chunk(1), got);
  CHECK(got == expected[1]);
  mel.commit();
  mel.rollback();  // changes nothing
  mel.push(chunk(2), got);
  CHECK(got == expected[2]);

  mel.reset();
  mel.push(chunk(0), got);
  CHECK(got == expected[0]);
  mel.rollback();
  mel.push(chunk(0), got);
  CHECK(got == expected[0]);
}

TEST(log_mel_refuses_wrong_sizes) {
  const FrontEndConfig c = small_config();
  CHECK_THROWS_MSG(InputError, "expected at most 8000 samples, got 8001", segment(c, noise(8001)));
  std::vector<float> out(3);
  CHECK_THROWS_MSG(InputError, "[audio.segment]", (SegmentLogMel(c).compute(noise(10), out), 0));
  ChunkLogMel mel(c, 1200);
  CHECK_THROWS_MSG(InputError, "[audio.chunk]", (mel.push(noise(1199), out), 0));
  CHECK_THROWS_MSG(InputError, "[audio.chunk]", (mel.push(noise(1200), out), 0));
  CHECK_THROWS_MSG(InputError, "whole mel frames", ChunkLogMel(c, 1201));
  CHECK_THROWS_MSG(InputError, "whole mel frames", ChunkLogMel(c, 0));
  FrontEndConfig bad = c;
  bad.chunk_frame_pad = 0;
  CHECK_THROWS_MSG(InputError, "frame_pad of 240", ChunkLogMel(bad, 1200));
  bad = c;
  bad.n_fft = -1;
  CHECK_THROWS_MSG(InputError, "n_fft", SegmentLogMel(bad));
  bad = c;
  bad.segment_samples = 100;
  CHECK_THROWS_MSG(InputError, "segment_samples", SegmentLogMel(bad));
}
