// Tests of the flow decoder's caches over formula graphs: what is kept, shared, and left out.
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "check.h"
#include "flow_rig.h"

using namespace parley;
using namespace flow_rig;

namespace {

FlowConfig cached(std::size_t past, std::size_t lookahead = 0) {
  return config_of(past, lookahead, FlowMode::cached);
}

// Evaluations of one branch over one code's frames that the field did since the last call.
std::int64_t work(const Rig& rig) {
  const auto n = rig.field->total / static_cast<std::int64_t>(kFactor * (kHidden + 2 * kZ));
  rig.field->total = 0;
  return n;
}

}  // namespace

TEST(a_voice_is_set_up_once_and_then_chunks_cost_their_own_frames) {
  Rig rig(cached(6));
  CHECK_EQ(work(rig), 2 * 6 * 2);  // two branches, six evaluations, two codes of prompt
  const StatePtr second = rig.flow->create_state(rig.voice);
  CHECK_EQ(work(rig), 0);
  rig.reply(codes_of(40));
  CHECK_EQ(work(rig), 2 * 6 * 40);
  CHECK_EQ(rig.modulation->runs(), 1);
}

TEST(branches_are_computed_where_guidance_needs_them) {
  FlowConfig config = cached(6);
  config.steps.guided_evaluations = 2;
  Rig some(config);
  CHECK_EQ(work(some), (2 + 6) * 2);
  some.reply(codes_of(8));
  CHECK_EQ(work(some), (2 + 6) * 8);
  config.steps.guidance = 0.0F;
  for (const FlowMode mode : {FlowMode::window, FlowMode::cached}) {
    config.mode = mode;
    Rig none(config);
    work(none);
    none.reply(codes_of(4));
    CHECK_EQ(work(none), 6 * (mode == FlowMode::window ? 2 + 4 : 4));
  }
}

TEST(states_of_one_voice_do_not_meet) {
  Rig rig(cached(6));
  const auto codes = codes_of(24);
  const auto expected = rig.reply(codes, 1);
  const StatePtr other = rig.flow->create_state(rig.voice);
  rig.flow->begin_reply(*rig.state, 1, 0);
  rig.flow->begin_reply(*other, 2, 5);
  std::vector<float> mine;
  std::vector<float> room(max_frames(rig.flow->shape(), 6) * kZ);
  for (std::size_t i = 0; i < 24; i += 6) {
    rig.push(std::span(codes).subspan(i, 6), i == 18, mine);
    rig.flow->push(*other, codes_of(6), false, room, kGo);
  }
  CHECK(mine == expected);
}

TEST(the_past_ends_where_the_setting_says) {
  // Two replies that differ in one early code: what is behind the past and the carried frames of
  // the convolution no longer differs, though each chunk recalls what the one before computed.
  Rig rig(cached(0));
  auto codes = codes_of(24);
  const auto first = rig.reply(codes);
  codes[1] = 49;
  const auto second = rig.reply(codes);
  const auto begin = [&](std::size_t code) {
    return static_cast<std::ptrdiff_t>(code * kFactor * kZ);
  };
  CHECK(!std::equal(first.begin(), first.begin() + begin(4), second.begin()));
  Rig seeing(cached(8));
  const auto third = seeing.reply(codes);
  codes[1] = codes_of(24)[1];
  const auto fourth = seeing.reply(codes);
  CHECK(!std::equal(third.begin() + begin(20), third.end(), fourth.begin() + begin(20)));
  CHECK(first.size() == third.size());
}

TEST(a_shorter_prompt_keeps_its_end) {
  FlowConfig config = cached(6);
  config.prompt_codes = 1;
  Rig shorter(config);
  CHECK_EQ(work(shorter), 2 * 6);
  std::vector<float> out;
  shorter.flow->begin_reply(*shorter.state, 1, 0);
  CHECK_EQ(shorter.push(codes_of(4), true, out).skip, 3U);
  Voice end = *voice_of(3);
  end.tokens.erase(end.tokens.begin());
  end.latents.erase(end.latents.begin(), end.latents.begin() + kFactor * kZ);
  Rig rig(cached(6));
  rig.state = rig.flow->create_state(std::make_shared<const Voice>(end));
  CHECK(rig.reply(codes_of(4)) == out);
}

TEST(voices_without_prompt_are_cached_too) {
  for (std::size_t past : {0, 6}) {
    Rig rig(cached(past));
    Voice bare;
    bare.speaker = {0.1F, 0.2F};
    rig.state = rig.flow->create_state(std::make_shared<const Voice>(bare));
    CHECK(rig.reply(codes_of(4), 9) == rig.probe().decode(bare, codes_of(4), {}, 9, nullptr, kGo));
    CHECK_EQ(rig.reply(codes_of(30)).size(), 30 * kFactor * kZ);
  }
}

TEST(a_broken_reply_leaves_the_next_one_whole) {
  Rig rig(cached(6));
  const auto codes = codes_of(12);
  const auto expected = rig.reply(codes);
  rig.state->commit();
  rig.field->spoil = true;
  CHECK(std::isnan(rig.reply(codes).back()));
  rig.state->commit();
  rig.field->spoil = false;
  CHECK(rig.reply(codes) == expected);
}

TEST(costs_are_those_of_the_buffers) {
  Rig rig(cached(6, 2));
  const FlowProbe::Costs costs = rig.probe().costs(*rig.voice);
  CHECK_EQ(costs.prompt_frames, 2 * kFactor);
  CHECK_EQ(costs.setup_evaluations, 6U);
  // 12 branch evaluations: keys and values of 8 frames, and the rows that the convolution needs.
  CHECK_EQ(costs.voice_bytes, 12 * (2 * 8 + 3) * kHidden * sizeof(float));
  CHECK_EQ(costs.state_bytes, 12 * (2 * (24 + 32) + 3 + 32) * kHidden * sizeof(float));
  Rig window(config_of(6, 0));
  CHECK_EQ(window.probe().costs(*rig.voice).voice_bytes, 0U);
}

TEST(exact_is_for_whole_utterances) {
  Rig rig(config_of(6, 0));
  FlowConfig config = config_of(6, 0, FlowMode::exact);
  const auto exact = make_graph_flow_decoder({rig.condition, rig.modulation, rig.field}, config);
  CHECK_THROWS_MSG(InputError, "window or cached", exact->create_state(rig.voice));
  const auto codes = codes_of(9);
  CHECK(probe_of<FlowProbe>(*exact).decode(*rig.voice, codes, {}, 3, nullptr, kGo) ==
        rig.probe().decode(*rig.voice, codes, {}, 3, nullptr, kGo));
}
