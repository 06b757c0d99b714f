// Echo cancellation in a made room: how much goes, how much of the user stays, delays, drifting
// clocks, a jump, no echo at all.
#include <cmath>
#include <numbers>
#include <random>

#include "check.h"
#include "count_allocations.h"
#include "live/echo/echo_canceller.h"
#include "parley/errors.hpp"

namespace {

using namespace parley::live;

constexpr int kHz = 16000;
constexpr std::size_t kBlock = kHz / 100;
using parley::InputError;
using Signal = std::vector<double>;

// Syllables of harmonics and noise at changing pitch: as spread and as gappy as speech.
Signal voice(double seconds, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(-1.0, 1.0);
  Signal out(static_cast<std::size_t>(seconds * kHz));
  double phase = 0;
  for (std::size_t at = 0; at < out.size();) {
    const auto length = static_cast<std::size_t>(kHz * (0.16 + 0.06 * uniform(random)));
    const double pitch = 150.0 + 40.0 * uniform(random);
    const bool noisy = uniform(random) > 0.4;
    for (std::size_t i = 0; i < length && at < out.size(); ++i, ++at) {
      const double x = static_cast<double>(i) / static_cast<double>(length);
      phase += 2 * std::numbers::pi * pitch * (1 + 0.1 * x) / kHz;
      double sample = noisy ? 0.6 * uniform(random) : 0.0;
      if (!noisy)
        for (int h = 1; h < 24; ++h) sample += std::sin(h * phase) / (1 + 0.3 * h);
      out[at] = 0.08 * std::sin(std::numbers::pi * x) * sample;
    }
    at += static_cast<std::size_t>(kHz * 0.04);
  }
  return out;
}

struct Room {
  double delay_s = 0.06;
  double drift_ppm = 0;
  double jump_s = 0;  // more delay from `jump_at` on
  double jump_at = 0;
  double gain = 0.5;
};

double at(const Signal& signal, double place) {
  const double whole = std::floor(place);
  double sum = 0;
  for (int k = -15; k <= 16; ++k) {
    const double x = whole + k;
    if (x < 0 || x >= static_cast<double>(signal.size())) continue;
    const double a = std::numbers::pi * (x - place);
    const double window = std::cos(a / 33);
    sum += signal[static_cast<std::size_t>(x)] * (a == 0 ? 1 : std::sin(a) / a) * window * window;
  }
  return sum;
}

// What the microphone hears of the loudspeaker, with 0.1 s of reverberation.
Signal echo_of(const Signal& far, const Room& room) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  Signal path(kHz / 20);
  double power = 0;
  for (std::size_t i = 0; i < path.size(); ++i) {
    path[i] = normal(random) * std::pow(10.0, -3.0 * static_cast<double>(i) / kHz / 0.1);
    if (i == 0) path[i] = 5;
    power += path[i] * path[i];
  }
  Signal wet(far.size());
  for (std::size_t i = 0; i < far.size(); ++i) {
    double sum = 0;
    for (std::size_t k = 0; k < path.size() && k <= i; ++k) sum += path[k] * far[i - k];
    wet[i] = room.gain * sum / std::sqrt(power);
  }
  Signal out(far.size());
  for (std::size_t i = 0; i < far.size(); ++i) {
    const double jump = static_cast<double>(i) > room.jump_at * kHz ? room.jump_s : 0.0;
    out[i] =
        at(wet, static_cast<double>(i) * (1 - room.drift_ppm * 1e-6) - (room.delay_s + jump) * kHz);
  }
  return out;
}

// One block later than the microphone; given back in step with it.
Signal run(EchoCanceller& canceller, const Signal& microphone, const Signal& far) {
  Signal out(microphone.size());
  std::vector<float> near(kBlock), played(kBlock), cleaned(kBlock);
  for (std::size_t at = 0; at + kBlock <= out.size(); at += kBlock) {
    for (std::size_t i = 0; i < kBlock; ++i) {
      near[i] = static_cast<float>(microphone[at + i]);
      played[i] = static_cast<float>(far[at + i]);
    }
    canceller.run(near, played, cleaned);
    for (std::size_t i = 0; i < kBlock && at >= kBlock; ++i) out[at - kBlock + i] = cleaned[i];
  }
  return out;
}

double power(const Signal& signal, double from_s, double to_s) {
  double sum = 0;
  for (auto i = static_cast<std::size_t>(from_s * kHz); i < static_cast<std::size_t>(to_s * kHz);
       ++i)
    sum += signal[i] * signal[i];
  return sum;
}

double decibels(double ratio) {
  return 10 * std::log10(ratio);
}

// Seven seconds of the loudspeaker alone, then three of both.
struct Scene {
  explicit Scene(const Room& room) : far(voice(10, 1)), near(10 * kHz), echo(echo_of(far, room)) {
    const Signal user = voice(3, 2);
    std::copy(user.begin(), user.end(), near.begin() + 7 * kHz);
    std::mt19937 random(5);
    std::normal_distribution<double> hiss(0.0, 5e-4);
    microphone = echo;
    for (std::size_t i = 0; i < far.size(); ++i) microphone[i] += near[i] + hiss(random);
    cleaned = run(canceller, microphone, far);
  }

  double erle_db() const { return decibels(power(microphone, 5, 7) / power(cleaned, 5, 7)); }
  // Of the user's voice in double talk: its gain, and how clean it is.
  double kept_db() const { return decibels(scale() * scale()); }
  double clean_db() const {
    Signal rest = cleaned;
    const double gain = scale();
    for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= gain * near[i];
    return decibels(gain * gain * power(near, 7, 9.9) / power(rest, 7, 9.9));
  }
  double scale() const {
    double both = 0;
    for (std::size_t i = 7 * kHz; i < 99 * kHz / 10; ++i) both += cleaned[i] * near[i];
    return both / power(near, 7, 9.9);
  }

  Signal far, near, echo, microphone, cleaned;
  EchoCanceller canceller{kHz};
};

void check_scene(const Room& room) {
  const Scene scene(room);
  const EchoStatistics& found = scene.canceller.statistics();
  CHECK(found.found);
  const double at_the_end = room.delay_s + room.jump_s + 10 * room.drift_ppm * 1e-6;
  CHECK_NEAR(found.delay_s, at_the_end, check::tolerance("ECHO_DELAY_S"));
  CHECK_NEAR(found.drift_ppm, room.drift_ppm, check::tolerance("ECHO_DRIFT_PPM"));
  CHECK(scene.erle_db() > check::tolerance("ECHO_ERLE_DB"));
  CHECK_NEAR(scene.kept_db(), 0.0, check::tolerance("ECHO_KEPT_DB"));
  CHECK(scene.clean_db() > check::tolerance("ECHO_CLEAN_DB"));
}

TEST(the_echo_goes_and_the_user_stays) {
  check_scene({});
}

TEST(a_late_echo_is_found) {
  check_scene({.delay_s = 0.35});
}

TEST(clocks_that_drift_are_followed) {
  check_scene({.drift_ppm = 100});
  check_scene({.drift_ppm = -300});
}

TEST(a_delay_that_jumps_is_found_again) {
  const Scene scene({.jump_s = 0.04, .jump_at = 3});
  CHECK_EQ(scene.canceller.statistics().jumps, 1);
  CHECK_NEAR(scene.canceller.statistics().delay_s, 0.1, check::tolerance("ECHO_DELAY_S"));
  CHECK(scene.erle_db() > check::tolerance("ECHO_ERLE_DB") - 6);
}

TEST(a_microphone_without_echo_is_left_alone) {
  Scene scene({.gain = 0});
  for (std::size_t i = 0; i < scene.cleaned.size(); ++i) scene.cleaned[i] -= scene.microphone[i];
  const double changed = power(scene.cleaned, 7, 9) / power(scene.microphone, 7, 9);
  CHECK(decibels(changed) < check::tolerance("ECHO_CHANGED_DB"));
}

TEST(a_user_alone_is_heard_at_once) {
  EchoCanceller canceller(kHz);
  const Signal user = voice(1, 4);
  const Signal cleaned = run(canceller, user, Signal(user.size()));
  for (std::size_t i = 0; i < user.size() - kBlock; ++i)
    CHECK_NEAR(cleaned[i], user[i], check::tolerance("ECHO_UNTOUCHED"));
}

TEST(until_the_echo_is_found_the_model_does_not_hear_itself) {
  const Scene scene({});
  CHECK_EQ(power(scene.cleaned, 0.1, 0.4), 0.0);
}

TEST(a_reset_canceller_is_a_new_one_and_nothing_is_allocated) {
  const Scene scene({.drift_ppm = 50});
  EchoCanceller canceller(kHz);
  (void)run(canceller, scene.microphone, scene.far);
  canceller.reset();
  CHECK(run(canceller, scene.microphone, scene.far) == scene.cleaned);
  std::vector<float> near(kBlock), far(kBlock, 0.1F), out(kBlock);
  CHECK_EQ(check::allocations([&] {
             for (int i = 0; i < 200; ++i) canceller.run(near, far, out);
           }),
           0);
}

TEST(a_rate_that_has_no_whole_blocks_is_refused) {
  CHECK_THROWS_MSG(InputError, "multiple of 100", EchoCanceller{11025});
}

}  // namespace
