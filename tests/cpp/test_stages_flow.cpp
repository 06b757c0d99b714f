// Tests of the flow decoder stage over formula graphs: streams, cuts, states, errors.
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "count_allocations.h"
#include "flow_rig.h"

using namespace parley;
using namespace flow_rig;

namespace {

std::int64_t signed_size(std::size_t n) {
  return static_cast<std::int64_t>(n);
}

// Pushes `codes` in random cuts, empty ones included; `last` comes with codes or alone.
std::vector<float> in_random_cuts(Rig& rig, const std::vector<std::int32_t>& codes,
                                  std::mt19937& random, bool with_rollbacks) {
  rig.flow->begin_reply(*rig.state, 1, 0);
  rig.state->commit();
  std::vector<float> out;
  std::vector<float> dropped;
  const std::span<const std::int32_t> all(codes);
  bool ended = false;
  for (std::size_t i = 0; !ended;) {
    const std::size_t n = std::min<std::size_t>(random() % 9, all.size() - i);
    const bool last = i + n == all.size() && random() % 2 == 0;
    if (with_rollbacks && random() % 2 == 0) {
      rig.push(codes_of(random() % 40, random()), random() % 2 == 0, dropped);
      if (random() % 3 == 0) rig.reply(codes_of(random() % 40, random()), random(), 4);
      rig.state->rollback();
    }
    rig.push(all.subspan(i, n), last, out);
    rig.state->commit();
    i += n;
    ended = last;
  }
  return out;
}

}  // namespace

// For dx/dt = x the midpoint rule multiplies by 1 + h + h*h/2 per step.

TEST(a_reply_that_fits_one_window_equals_the_whole_decode) {
  for (std::size_t n = 1; n <= 4; ++n) {
    Rig rig(config_of(16, 0));
    const auto codes = codes_of(n);
    const auto streamed = rig.reply(codes, 9, 0);
    const auto whole = rig.probe().decode(*rig.voice, codes, {}, 9, nullptr, kGo);
    REQUIRE(streamed.size() == n * kFactor * kZ);
    CHECK(std::vector<float>(streamed.begin() + 3 * kZ, streamed.end()) == whole);
  }
}

// With the reply within one window its later frames still miss nothing but the codes behind them.

TEST(the_last_chunk_of_a_reply_within_the_past_equals_the_whole_decode) {
  Rig rig(config_of(16, 0));
  const auto codes = codes_of(18);
  const auto streamed = rig.reply(codes, 9, 0);
  const auto whole = rig.probe().decode(*rig.voice, codes, {}, 9, nullptr, kGo);
  const std::size_t tail = 2 * kFactor * kZ;
  CHECK(std::equal(streamed.end() - tail, streamed.end(), whole.end() - tail));
}

TEST(any_cut_of_the_codes_gives_the_same_latents) {
  for (const FlowMode mode : {FlowMode::window, FlowMode::cached}) {
    for (const auto& [past, lookahead] : {std::pair{0, 0}, {6, 0}, {16, 3}, {3, 9}}) {
      Rig whole(config_of(past, lookahead, mode));
      for (unsigned seed = 0; seed < 25; ++seed) {
        std::mt19937 random(seed);
        const auto codes = codes_of(random() % 70, seed);
        const auto expected = whole.reply(codes);
        CHECK_EQ(expected.size(), codes.size() * kFactor * kZ);
        Rig cut(config_of(past, lookahead, mode));
        CHECK(in_random_cuts(cut, codes, random, false) == expected);
      }
    }
  }
}

TEST(rollback_equals_never_having_run) {
  for (const FlowMode mode : {FlowMode::window, FlowMode::cached}) {
    Rig whole(config_of(6, 2, mode));
    for (unsigned seed = 0; seed < 40; ++seed) {
      std::mt19937 random(seed);
      const auto codes = codes_of(30, seed);
      Rig wild(config_of(6, 2, mode));
      CHECK(in_random_cuts(wild, codes, random, true) == whole.reply(codes));
    }
  }
}

// As published: the voice's latents are cut off, however many its codes would cover. Of 25 codes
// behind the published voice (291 codes, 1,167 latents) 97 frames are left, and behind one of 33
// codes with 131 latents 101.

TEST(a_reply_begins_where_the_latents_of_its_voice_end) {
  for (int more : {-8, -5, -4, -1, 0, 1, 3, 4, 6, 17}) {
    for (std::size_t n : {1, 4, 25}) {
      Rig rig(config_of(4 * n, 0), more);
      const auto codes = codes_of(n);
      const auto whole = rig.probe().decode(*rig.voice, codes, {}, 9, nullptr, kGo);
      const int frames = std::max(static_cast<int>(n * kFactor) - more, 0);
      REQUIRE(whole.size() == static_cast<std::size_t>(frames) * kZ);
      rig.flow->begin_reply(*rig.state, 9, 0);
      std::vector<float> out;
      const auto pushed = rig.push(codes, true, out);
      REQUIRE(pushed.n - pushed.skip == static_cast<std::size_t>(frames));
      if (n > 4) continue;  // one window sees all that the whole decode does
      CHECK(std::vector<float>(out.begin() + static_cast<std::ptrdiff_t>(pushed.skip * kZ),
                               out.end()) == whole);
    }
  }
}

TEST(the_tail_of_a_voice_comes_first_in_any_cut) {
  for (const FlowMode mode : {FlowMode::window, FlowMode::cached}) {
    Rig whole(config_of(6, 2, mode), -5);
    CHECK_EQ(whole.flow->tail_frames(*whole.voice), 5U);
    for (unsigned seed = 0; seed < 20; ++seed) {
      std::mt19937 random(seed);
      const auto codes = codes_of(random() % 40, seed);
      const auto expected = whole.reply(codes);
      CHECK_EQ(expected.size(), (codes.empty() ? 0 : codes.size() * kFactor + 5) * kZ);
      Rig cut(config_of(6, 2, mode), -5);
      CHECK(in_random_cuts(cut, codes, random, true) == expected);
    }
  }
}

TEST(room_for_the_tail_is_asked_for) {
  Rig rig(config_of(6, 0), -3);
  rig.flow->begin_reply(*rig.state, 1, 0);
  std::vector<float> room((4 * kFactor + 2) * kZ);
  CHECK_THROWS_MSG(InputError, "tail_frames",
                   rig.flow->push(*rig.state, codes_of(4), true, room, kGo));
}

TEST(a_shortened_voice_keeps_its_tail) {
  FlowConfig config = config_of(6, 0);
  config.prompt_codes = 1;
  CHECK_EQ(Rig(config, -3).flow->tail_frames(*voice_of(-3)), 3U);
  CHECK_EQ(Rig(config, -7).flow->tail_frames(*voice_of(-7)), 4U);  // of the one code that is left
}

TEST(a_fork_goes_on_by_itself) {
  for (const FlowMode mode : {FlowMode::window, FlowMode::cached}) {
    for (const std::size_t at : {0U, 3U, 17U, 40U}) {
      Rig whole(config_of(6, 2, mode));
      const auto codes = codes_of(40);
      const auto expected = whole.reply(codes, 4, 2);
      Rig rig(config_of(6, 2, mode));
      rig.flow->begin_reply(*rig.state, 4, 2);
      std::vector<float> out;
      rig.push(std::span(codes).first(at), false, out);
      rig.state->commit();
      Rig other(config_of(6, 2, mode));
      other.reply(codes_of(30, 8));  // what the copy takes the place of
      other.state->commit();
      copy_state(*rig.state, *other.state);
      std::vector<float> forked = out;
      rig.push(codes_of(20, 9), true, out);
      rig.state->rollback();
      other.push(std::span(codes).subspan(at), true, forked);
      CHECK(forked == expected);
    }
  }
}

TEST(a_saved_state_that_makes_no_sense_is_refused) {
  struct Numbers {
    std::int64_t received, decoded, first;
  };
  for (const FlowMode mode : {FlowMode::window, FlowMode::cached}) {
    const auto load = [&](Numbers numbers) {
      Rig rig(config_of(6, 2, mode));
      rig.flow->begin_reply(*rig.state, 1, 0);
      std::vector<float> out;
      rig.push(codes_of(15), false, out);
      rig.state->commit();
      ByteWriter saved;
      rig.state->save(saved);
      std::vector<std::byte> bytes(saved.bytes().begin(), saved.bytes().end());
      std::memcpy(bytes.data() + 14, &numbers, sizeof numbers);  // behind seed, number, two flags
      ByteReader reader(bytes);
      rig.state->load(reader);
    };
    load({15, 12, 6});  // as it was
    constexpr std::int64_t kHuge = std::int64_t{1} << 62U;
    for (const Numbers& numbers : {Numbers{14, 12, 6},
                                   {15, 16, 6},
                                   {15, -1, 6},
                                   {15, 8, 6},
                                   {8, 12, -1},
                                   {kHuge + 9, kHuge, kHuge}})
      CHECK_THROWS_MSG(InputError, "codes that make sense", load(numbers));
  }
}

TEST(skip_counts_the_frames_under_the_prompt) {
  for (int overlap : {0, 3, 6, 17}) {
    Rig rig(config_of(4, 0), overlap);
    rig.flow->begin_reply(*rig.state, 1, 0);
    std::size_t skipped = 0;
    std::vector<float> out;
    for (int chunk = 0; chunk < 6; ++chunk) {
      const std::size_t begin = out.size();
      const auto frames = rig.push(codes_of(4), chunk == 5, out);
      CHECK_EQ(frames.n, 4 * kFactor);
      skipped += frames.skip;
      for (std::size_t i = 0; i < frames.skip * kZ; ++i) CHECK_EQ(out[begin + i], 0.0F);
      for (std::size_t i = frames.skip * kZ; i < frames.n * kZ; ++i) CHECK(out[begin + i] != 0.0F);
    }
    CHECK_EQ(skipped, static_cast<std::size_t>(overlap));
  }
}

TEST(noise_depends_on_seed_and_reply) {
  Rig rig(config_of(16, 0));
  const auto codes = codes_of(6);
  const auto first = rig.reply(codes, 1, 0);
  CHECK(rig.reply(codes, 1, 1) != first);
  CHECK(rig.reply(codes, 2, 0) != first);
  CHECK(rig.reply(codes, 1, 0) == first);
  Rig fresh(config_of(16, 0));
  CHECK(fresh.reply(codes, 1, 1) == rig.reply(codes, 1, 1));
}

TEST(reset_is_as_created) {
  Rig rig(config_of(16, 0));
  const auto codes = codes_of(10);
  const auto first = rig.reply(codes);
  rig.state->commit();
  rig.state->reset();
  std::vector<float> out;
  CHECK_THROWS_MSG(InputError, "begin_reply", rig.push(codes, false, out));
  CHECK(rig.reply(codes) == first);
}

TEST(modulations_are_computed_once_per_voice) {
  Rig rig(config_of(6, 0));
  CHECK_EQ(rig.modulation->runs(), 1);
  rig.reply(codes_of(40));
  rig.reply(codes_of(40), 2, 1);
  CHECK_EQ(rig.modulation->runs(), 1);
  CHECK_EQ(rig.field->runs(), 20 * 6);  // ten windows each, six evaluations per window
  CHECK_EQ(rig.condition->runs(), 20);
  const StatePtr second = rig.flow->create_state(rig.voice);
  CHECK_EQ(rig.modulation->runs(), 1);
}

TEST(a_stop_between_evaluations_leaves_the_state_as_before) {
  const auto codes = codes_of(24);
  for (int at = 1; at <= 24; ++at) {
    const FlowConfig config = config_of(6, 0, at % 2 == 0 ? FlowMode::window : FlowMode::cached);
    Rig plain(config);
    const auto expected = plain.reply(codes);
    Rig rig(config);
    rig.flow->begin_reply(*rig.state, 1, 0);
    std::vector<float> out;
    rig.push(std::span(codes).first(9), false, out);
    rig.state->commit();
    StopFlag stop;
    rig.field->ignores_stop = true;  // so that the stage's own look at the flag shows
    rig.field->to_stop = &stop;
    rig.field->stop_at = rig.field->runs() + (at + 1) / 2;
    std::vector<float> lost;
    CHECK_THROWS_MSG(CancelledError, "cancel",
                     rig.push(std::span(codes).subspan(9), true, lost, stop));
    CHECK_EQ(rig.field->runs(), rig.field->stop_at);  // none after the stop
    rig.push(std::span(codes).subspan(9), true, out);
    CHECK(out == expected);
  }
}

TEST(a_warm_push_allocates_nothing_and_windows_stay_bounded) {
  for (const FlowMode mode : {FlowMode::window, FlowMode::cached}) {
    Rig rig(config_of(6, 2, mode));
    rig.field->largest = 0;
    rig.flow->begin_reply(*rig.state, 1, 0);
    const auto codes = codes_of(4);
    std::vector<float> room(max_frames(rig.flow->shape(), 4) * kZ);
    rig.flow->push(*rig.state, codes, false, room, kGo);
    rig.state->commit();
    const long n = check::allocations([&] {
      for (int i = 0; i < 300; ++i) {
        if (i % 50 == 0) {
          rig.flow->begin_reply(*rig.state, 1, static_cast<std::uint32_t>(i));
          rig.state->commit();
        }
        rig.flow->push(*rig.state, codes, i % 50 == 49, room, kGo);
        i % 7 == 3 ? rig.state->rollback() : rig.state->commit();
      }
    });
    CHECK_EQ(n, 0);
    const std::int64_t most = mode == FlowMode::window ? 2 + 6 + 4 + 2 : 4 + 2;
    CHECK_EQ(rig.field->largest, 2 * most * signed_size(kFactor * (kHidden + 2 * kZ)));
  }
}

TEST(bad_pushes_are_input_errors_and_change_nothing) {
  Rig rig(config_of(6, 0));
  std::vector<float> out;
  const auto codes = codes_of(8);
  CHECK_THROWS_MSG(InputError, "begin_reply", rig.push(codes, false, out));
  rig.flow->begin_reply(*rig.state, 1, 0);
  std::vector<float> small(8 * kFactor * kZ - 1);
  CHECK_THROWS_MSG(InputError, "max_frames", rig.flow->push(*rig.state, codes, false, small, kGo));
  const std::vector<std::int32_t> negative = {1, -1};
  CHECK_THROWS_MSG(InputError, "got -1", rig.push(negative, false, out));
  rig.push(codes, true, out);
  CHECK(out == rig.reply(codes));
  CHECK_THROWS_MSG(InputError, "behind the last", rig.push(codes, false, out));
  CHECK_THROWS_MSG(InputError, "noise",
                   rig.probe().decode(*rig.voice, codes, std::vector<float>(5), 0, nullptr, kGo));
}

TEST(empty_replies_give_nothing) {
  Rig rig(config_of(6, 0));
  CHECK(rig.reply({}).empty());
  CHECK(rig.probe().decode(*rig.voice, {}, {}, 0, nullptr, kGo).empty());
}

TEST(voices_without_prompt_or_with_short_latents_work) {
  Rig rig(config_of(6, 0));
  Voice bare;
  bare.speaker = {0.1F, 0.2F};
  rig.state = rig.flow->create_state(std::make_shared<const Voice>(bare));
  const auto codes = codes_of(4);
  CHECK(rig.reply(codes, 9) == rig.probe().decode(bare, codes, {}, 9, nullptr, kGo));
  const auto brief = voice_of(-3);
  rig.voice = brief;
  rig.state = rig.flow->create_state(brief);
  CHECK(rig.reply(codes, 9) == rig.probe().decode(*brief, codes, {}, 9, nullptr, kGo));
}

TEST(what_a_bundle_got_wrong_is_named) {
  const auto make = [](FlowConfig config, FlowGraphs graphs) {
    return make_graph_flow_decoder(std::move(graphs), std::move(config));
  };
  const FlowGraphs good = {fake::flow_condition(kHidden, kFactor),
                           fake::flow_modulation(kSpeaker, kModulation),
                           fake::flow_field(kHidden, kZ, kModulation)};
  FlowGraphs graphs = good;
  graphs.field = nullptr;
  CHECK_THROWS_MSG(BundleError, "flow_field", make(config_of(6, 0), graphs));
  graphs.field = fake::flow_field(kHidden, kZ, kModulation + 1);
  CHECK_THROWS_MSG(BundleError, "input modulation f32 [1, 6], got f32 [1, 7]",
                   make(config_of(6, 0), graphs));
  graphs.field = fake::flow_field(kHidden + 1, kZ, kModulation);
  CHECK_THROWS_MSG(BundleError, "inputs f32 [any, any, 11]", make(config_of(6, 0), graphs));
  FlowConfig config = config_of(6, 0);
  config.steps.points = 1;
  CHECK_THROWS_MSG(BundleError, "time points", make(config, good));
  config = config_of(6, 0);
  config.latent_mean.pop_back();
  CHECK_THROWS_MSG(BundleError, "means", make(config, good));
  config = config_of(6, 0);
  config.latent_var[1] = -1.0F;
  CHECK_THROWS_MSG(BundleError, "variances", make(config, good));
  const auto flow = make(config_of(6, 0), good);
  Voice voice = *voice_of(3);
  voice.speaker.push_back(0);
  CHECK_THROWS_MSG(BundleError, "speaker", flow->create_state(std::make_shared<Voice>(voice)));
  voice = *voice_of(3);
  voice.latents.push_back(0);
  CHECK_THROWS_MSG(BundleError, "latents in rows",
                   flow->create_state(std::make_shared<Voice>(voice)));
}
