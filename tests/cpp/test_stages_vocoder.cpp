// Tests of the vocoder stage over a formula graph of known reach.
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "check.h"
#include "count_allocations.h"
#include "fake_runners.h"
#include "stages/vocoder.h"

using namespace parley;

namespace {

constexpr std::size_t kZ = 2;
constexpr std::size_t kSamples = 3;
const StopFlag kGo;

struct Rig {
  explicit Rig(VocoderConfig config = {.z = kZ,
                                       .samples_per_latent = kSamples,
                                       .full_lookahead_frames = 2,
                                       .lookahead_frames = 2,
                                       .max_push_frames = 8},
               std::int64_t right = 2)
      : graph(fake::vocoder(kZ, kSamples, 5, right)),
        vocoder(make_graph_vocoder(graph, config)),
        state(vocoder->create_state()) {}

  std::size_t push(std::span<const float> latents, bool last, std::vector<float>& out,
                   const StopFlag& stop = kGo) {
    const std::size_t frames = latents.size() / kZ + vocoder->config().lookahead_frames;
    std::vector<float> room(frames * kSamples);
    const std::size_t n = vocoder->push(*state, latents, last, room, stop);
    out.insert(out.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
  }

  // All in one run, behind nothing.
  std::vector<float> whole(std::span<const float> latents) const {
    VocoderConfig config = vocoder->config();
    config.max_push_frames = std::max<std::size_t>(latents.size() / kZ, 1);
    const auto fresh = make_graph_vocoder(graph, config);
    const StatePtr from_nothing = fresh->create_state();
    fresh->begin_reply(*from_nothing);
    std::vector<float> samples(latents.size() / kZ * kSamples);
    fresh->push(*from_nothing, latents, true, samples, kGo);
    return samples;
  }

  std::shared_ptr<fake::Graph> graph;
  std::unique_ptr<Vocoder> vocoder;
  StatePtr state;
};

std::vector<float> latents_of(std::size_t frames, unsigned seed = 5) {
  std::mt19937 random(seed);
  std::vector<float> latents(frames * kZ);
  for (float& value : latents) value = static_cast<float>(random() % 1000) / 250.0F - 2.0F;
  return latents;
}

std::vector<float> in_random_cuts(Rig& rig, const std::vector<float>& latents, std::mt19937& random,
                                  bool with_rollbacks) {
  rig.vocoder->begin_reply(*rig.state);
  rig.state->commit();
  std::vector<float> out;
  std::vector<float> dropped;
  const std::size_t frames = latents.size() / kZ;
  bool ended = false;
  for (std::size_t i = 0; !ended;) {
    const std::size_t n = std::min<std::size_t>(random() % 12, frames - i);
    const bool last = i + n == frames && random() % 2 == 0;
    if (with_rollbacks && random() % 2 == 0) {
      rig.push(latents_of(random() % 30, random()), random() % 2 == 0, dropped);
      if (random() % 3 == 0) rig.vocoder->begin_reply(*rig.state);
      rig.state->rollback();
    }
    rig.push(std::span(latents).subspan(i * kZ, n * kZ), last, out);
    rig.state->commit();
    i += n;
    ended = last;
  }
  return out;
}

}  // namespace

TEST(any_cut_of_the_latents_gives_the_whole_run) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    std::mt19937 random(seed);
    const auto latents = latents_of(random() % 90, seed);
    Rig rig;
    const auto whole = rig.whole(latents);
    CHECK_EQ(whole.size(), latents.size() / kZ * kSamples);
    CHECK(in_random_cuts(rig, latents, random, false) == whole);
  }
}

// With less than the full look-ahead, what follows is guessed: the last frame, held.
TEST(a_shorter_lookahead_holds_the_last_frame) {
  for (std::size_t lookahead : {0U, 1U, 2U, 3U}) {
    const VocoderConfig config{.z = kZ,
                               .samples_per_latent = kSamples,
                               .full_lookahead_frames = 3,
                               .lookahead_frames = lookahead,
                               .max_push_frames = 8};
    Rig rig(config, 3);
    const auto latents = latents_of(60);
    std::mt19937 random(static_cast<unsigned>(lookahead));
    rig.vocoder->begin_reply(*rig.state);
    std::vector<float> out;
    for (std::size_t received = 0; received < 60;) {
      const std::size_t n = std::min<std::size_t>(random() % 12, 60 - received);
      const std::size_t begin = out.size();
      const bool last = received + n == 60;
      rig.push(std::span(latents).subspan(received * kZ, n * kZ), last, out);
      received += n;
      std::vector<float> known(latents.begin(),
                               latents.begin() + static_cast<std::ptrdiff_t>(received * kZ));
      for (std::size_t i = 0; i < 3 * kZ && !last && received > 0; ++i)
        known.push_back(known[known.size() - kZ]);
      const auto whole = rig.whole(known);
      const std::size_t due = received - std::min(received, last ? 0 : lookahead);
      CHECK_EQ(out.size(), std::max(due * kSamples, begin));
      for (std::size_t i = begin; i < out.size(); ++i) CHECK_EQ(out[i], whole[i]);
    }
  }
}

TEST(past_frames_are_never_computed_again) {
  Rig rig;
  rig.vocoder->begin_reply(*rig.state);
  std::vector<float> out;
  for (int i = 0; i < 50; ++i) {
    rig.graph->largest = 0;
    const int runs = rig.graph->runs();
    rig.push(latents_of(4), false, out);
    CHECK_EQ(rig.graph->runs(), runs + 1);
    CHECK_EQ(rig.graph->largest, static_cast<std::int64_t>(4 * kZ));
  }
}

TEST(samples_come_when_their_lookahead_is_there) {
  Rig rig;
  rig.vocoder->begin_reply(*rig.state);
  std::vector<float> out;
  CHECK_EQ(rig.push(latents_of(2), false, out), 0U);
  CHECK_EQ(rig.push(latents_of(1), false, out), kSamples);
  CHECK_EQ(rig.push(latents_of(7), false, out), 7 * kSamples);
  CHECK_EQ(rig.push({}, true, out), 2 * kSamples);
}

TEST(rollback_equals_never_having_run) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto latents = latents_of(50, seed);
    Rig rig;
    CHECK(in_random_cuts(rig, latents, random, true) == rig.whole(latents));
  }
}

TEST(a_fork_goes_on_by_itself) {
  const auto latents = latents_of(60);
  const std::span<const float> all(latents);
  for (const std::size_t at : {0U, 1U, 20U, 59U}) {
    Rig rig;
    rig.vocoder->begin_reply(*rig.state);
    std::vector<float> out;
    rig.push(all.first(at * kZ), false, out);
    rig.state->commit();
    Rig other;
    other.vocoder->begin_reply(*other.state);
    std::vector<float> forked;
    other.push(latents_of(7), false, forked);
    other.state->commit();
    copy_state(*rig.state, *other.state);
    forked = out;
    std::vector<float> dropped;
    rig.push(latents_of(9), true, dropped);
    other.push(all.subspan(at * kZ), true, forked);
    CHECK(forked == rig.whole(latents));
    rig.state->rollback();
    rig.push(all.subspan(at * kZ), true, out);
    CHECK(out == forked);
  }
}

TEST(a_saved_state_that_makes_no_sense_is_refused) {
  const auto load = [](std::int64_t received, std::int64_t emitted) {
    Rig rig;
    rig.vocoder->begin_reply(*rig.state);
    std::vector<float> out;
    rig.push(latents_of(9), false, out);
    rig.state->commit();
    ByteWriter saved;
    rig.state->save(saved);
    std::vector<std::byte> bytes(saved.bytes().begin(), saved.bytes().end());
    // Behind two flags, a seed and a reply's number.
    std::byte* at = bytes.data() + 2 + sizeof(std::uint64_t) + sizeof(std::uint32_t);
    std::memcpy(at, &received, sizeof received);
    std::memcpy(at + sizeof received, &emitted, sizeof emitted);
    ByteReader reader(bytes);
    rig.state->load(reader);
  };
  load(9, 7);  // as it was
  constexpr std::int64_t kHuge = std::int64_t{1} << 62U;
  for (const auto& [received, emitted] :
       {std::pair<std::int64_t, std::int64_t>{9, 10}, {9, 6}, {9, -1}, {-1, -1}, {kHuge, kHuge}})
    CHECK_THROWS_MSG(InputError, "frames that make sense", load(received, emitted));
}

TEST(replies_do_not_see_one_another) {
  Rig rig;
  const auto latents = latents_of(20);
  const auto whole = rig.whole(latents);
  for (int reply = 0; reply < 3; ++reply) {
    rig.vocoder->begin_reply(*rig.state);
    std::vector<float> out;
    rig.push(latents, reply != 1, out);  // the second one is left unfinished
    rig.state->commit();
    if (reply != 1) CHECK(out == whole);
  }
  rig.state->reset();
  std::vector<float> out;
  CHECK_THROWS_MSG(InputError, "begin_reply", rig.push(latents, false, out));
}

TEST(a_stop_or_failure_leaves_the_state_as_before) {
  Rig rig;
  rig.graph->ignores_stop = true;  // so that the stage's own look at the flag shows
  const auto latents = latents_of(40);
  const auto whole = rig.whole(latents);
  for (int at = 1; at <= 3; ++at) {
    rig.vocoder->begin_reply(*rig.state);
    std::vector<float> out;
    rig.push(std::span(latents).first(10 * kZ), false, out);
    std::vector<float> lost;
    StopFlag stop;
    rig.graph->to_stop = &stop;
    rig.graph->stop_at = rig.graph->runs() + at;
    // 30 frames are four pieces, the end with the last: the stop is seen before the next one.
    CHECK_THROWS_MSG(CancelledError, "cancel",
                     rig.push(std::span(latents).subspan(10 * kZ), true, lost, stop));
    rig.graph->stop_at = 0;
    rig.graph->fail_at = rig.graph->runs() + 1;
    CHECK_THROWS_MSG(Error, "fake.run", rig.push(std::span(latents).subspan(10 * kZ), true, lost));
    rig.graph->fail_at = 0;
    rig.push(std::span(latents).subspan(10 * kZ), true, out);
    CHECK(out == whole);
  }
}

TEST(a_warm_push_allocates_nothing_and_runs_stay_bounded) {
  Rig rig;
  const auto latents = latents_of(6);
  std::vector<float> room(10 * kSamples);
  rig.vocoder->begin_reply(*rig.state);
  const long n = check::allocations([&] {
    for (int i = 0; i < 400; ++i) {
      rig.vocoder->push(*rig.state, latents, i % 100 == 99, room, kGo);
      i % 7 == 3 ? rig.state->rollback() : rig.state->commit();
      if (i % 100 == 99 || i % 7 == 3) rig.vocoder->begin_reply(*rig.state);
    }
  });
  CHECK_EQ(n, 0);
  CHECK(rig.graph->largest <= static_cast<std::int64_t>(8 * kZ));
}

TEST(bad_pushes_are_input_errors_and_change_nothing) {
  Rig rig;
  std::vector<float> out;
  const auto latents = latents_of(6);
  CHECK_THROWS_MSG(InputError, "begin_reply", rig.push(latents, false, out));
  rig.vocoder->begin_reply(*rig.state);
  CHECK_THROWS_MSG(InputError, "rows of 2", rig.push(std::span(latents).first(3), false, out));
  std::vector<float> small(4 * kSamples - 1);
  CHECK_THROWS_MSG(InputError, "room for 12",
                   rig.vocoder->push(*rig.state, latents, false, small, kGo));
  rig.push(latents, true, out);
  CHECK(out == rig.whole(latents));
  CHECK_THROWS_MSG(InputError, "behind the last", rig.push(latents, false, out));
}

TEST(what_a_bundle_got_wrong_is_named) {
  CHECK_THROWS_MSG(BundleError, "graph vocoder", make_graph_vocoder(nullptr, {.z = kZ}));
  CHECK_THROWS_MSG(BundleError, "latents f32 [1, 3, any], got f32 [1, 2, any]",
                   make_graph_vocoder(fake::vocoder(kZ, kSamples, 5, 2), {.z = 3}));
  CHECK_THROWS_MSG(
      BundleError, "above 0",
      make_graph_vocoder(fake::vocoder(kZ, kSamples, 5, 2), {.z = kZ, .samples_per_latent = 0}));
  CHECK_THROWS_MSG(
      BundleError, "at most 2",
      make_graph_vocoder(fake::vocoder(kZ, kSamples, 5, 2), {.z = kZ, .full_lookahead_frames = 2}));
}
