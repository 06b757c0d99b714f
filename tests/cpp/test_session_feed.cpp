// Blocks of any size at any rate become steps; a turn ends where its last sample was fed.
#include <cmath>
#include <numbers>

#include "session_run.h"

namespace {

using namespace session_run;

std::vector<float> tone(std::size_t n, double hz, double rate) {
  std::vector<float> samples(n);
  for (std::size_t i = 0; i < n; ++i)
    samples[i] = static_cast<float>(
        0.5 * std::sin(2 * std::numbers::pi * hz * static_cast<double>(i) / rate));
  return samples;
}

// Takes the steps that wait.
int take(Run& run, Session& session) {
  Chunk out;
  int n = 0;
  while (const std::optional<Step> step = session.next(out)) {
    run.samples.insert(run.samples.end(), out.begin(), out.end());
    run.floors.push_back(step->floor);
    ++n;
  }
  return n;
}

std::vector<float> features(const Stages& stages) {
  std::vector<float> values;
  for (const auto& row : stages.backbone->last->rows)
    if (row.id < 0) values.push_back(row.feature);
  return values;
}

TEST(any_cut_gives_the_same_steps) {
  for (const int hz : {24000, 48000, 16000, 44100}) {
    const std::vector<float> samples =
        tone(static_cast<std::size_t>(hz), 300.0, static_cast<double>(hz));
    std::vector<std::vector<float>> heard;
    std::vector<Run> runs;
    for (const std::size_t cut :
         {samples.size(), std::size_t{480}, std::size_t{7777}, std::size_t{37}}) {
      Stages stages;
      Session session = make_session(stages.duplex());
      Run& run = runs.emplace_back();
      for (std::size_t at = 0; at < samples.size(); at += cut) {
        const std::size_t n = std::min(cut, samples.size() - at);
        session.feed(std::span(samples).subspan(at, n), hz);
        take(run, session);
      }
      session.flush();
      take(run, session);
      heard.push_back(features(stages));
      CHECK_EQ(session.waiting(), 0U);
    }
    CHECK_EQ(heard[0].size(), 7U);  // a second and the silence that fills its last chunk
    for (std::size_t k = 1; k < heard.size(); ++k) CHECK(heard[k] == heard[0]);
  }
}

TEST(other_rates_are_heard_as_the_sessions_own) {
  std::vector<std::vector<float>> heard;
  for (const int hz : {24000, 48000}) {
    Stages stages;
    Session session = make_session(stages.duplex());
    session.feed(tone(static_cast<std::size_t>(hz) * 16 / 25, 300.0, hz), hz);
    session.flush();
    Run run;
    CHECK_EQ(take(run, session), 4);
    heard.push_back(features(stages));
  }
  // Sums of 2048 log-mels.
  for (std::size_t i = 1; i + 1 < heard[0].size(); ++i)
    CHECK_NEAR(heard[0][i] / 2048, heard[1][i] / 2048,
               static_cast<float>(check::tolerance("RESAMPLED_LOG_MEL_MEAN_ABS")));
}

TEST(samples_wait_where_a_step_fails) {
  Stages stages;
  Session session = make_session(stages.duplex());
  session.feed(tone(kChunk + 100, 300.0, 24000.0));
  stages.backbone->on_feed = [] { throw Error("scripted failure"); };
  Chunk out{};
  CHECK_THROWS_MSG(Error, "scripted failure", session.next(out));
  CHECK_EQ(session.waiting(), kChunk + 100);
  stages.backbone->on_feed = nullptr;
  Run run;
  CHECK_EQ(take(run, session), 1);
  CHECK_EQ(session.waiting(), 100U);
  CHECK_THROWS_MSG(InputError, "left over from feed()", session.step(out, out));
  CHECK_THROWS_MSG(InputError, "left over from feed()", session.fork());
  session.reset();
  CHECK_EQ(session.waiting(), 0U);
  const Chunk silence{};
  session.step(silence, out);
}

TEST(a_turn_ends_with_the_chunk_of_its_last_sample) {
  Stages stages;
  stages.backbone->script = {1, kEnd};
  Session session = make_session(stages.turns());
  session.feed(tone(2 * kChunk + 100, 300.0, 24000.0));
  session.end_turn();
  session.flush();
  session.feed(std::vector<float>(kChunk));  // behind the turn
  Chunk out;
  std::vector<Floor> floors;
  while (const std::optional<Step> step = session.next(out)) floors.push_back(step->floor);
  CHECK_EQ(floors.size(), 4U);
  CHECK_EQ(features(stages).size(), 3U);  // two chunks and the one of the last sample
}

TEST(bad_blocks_are_refused_and_nothing_is_lost) {
  Stages stages;
  Session session = make_session(stages.duplex());
  const std::vector<float> good(100);
  session.feed(good);
  CHECK_THROWS_MSG(InputError, "at sample 1",
                   session.feed(std::vector<float>{0.0F, std::nanf("")}));
  CHECK_THROWS_MSG(InputError, "rates from", session.feed(good, 100));
  CHECK_EQ(session.waiting(), 100U);
  std::array<float, 10> small;
  CHECK_THROWS_MSG(InputError, "room for", session.next(small));
}

TEST(a_rate_that_is_refused_does_not_end_the_stream) {
  const std::vector<float> samples = tone(48000, 300.0, 48000.0);
  std::vector<std::vector<float>> heard;
  for (const bool disturbed : {false, true}) {
    Stages stages;
    Session session = make_session(stages.duplex());
    session.feed(std::span(samples).first(20000), 48000);
    if (disturbed) CHECK_THROWS_MSG(InputError, "rates from", session.feed(samples, 100));
    session.feed(std::span(samples).subspan(20000), 48000);
    session.flush();
    Run run;
    take(run, session);
    heard.push_back(features(stages));
  }
  CHECK(heard[0] == heard[1]);
}

TEST(a_resampler_keeps_what_it_may_and_no_more) {
  for (const auto& [from, to] : {std::pair{48000, 24000}, std::pair{24000, 48000},
                                 std::pair{44100, 24000}, std::pair{24000, 24000}}) {
    Resampler resampler(from, to);
    const std::vector<float> in = tone(static_cast<std::size_t>(from), 1000.0, from);
    std::vector<float> out(resampler.max_output(in.size()) + resampler.max_output(0));
    std::size_t n = resampler.push(in, out);
    n += resampler.finish(std::span(out).subspan(n));
    CHECK_EQ(n, static_cast<std::size_t>(to));
    const std::vector<float> wanted = tone(n, 1000.0, to);
    for (std::size_t i = n / 10; i < n * 9 / 10; ++i)
      CHECK_NEAR(out[i], wanted[i], static_cast<float>(check::tolerance("RESAMPLED_TONE_ABS")));
  }
  Resampler down(48000, 24000);
  const std::vector<float> high = tone(48000, 20000.0, 48000.0);
  std::vector<float> out(down.max_output(high.size()));
  const std::size_t n = down.push(high, out);
  for (std::size_t i = 1000; i < n; ++i)
    CHECK_NEAR(out[i], 0.0F, static_cast<float>(check::tolerance("RESAMPLED_TONE_ABS")));
}

}  // namespace
