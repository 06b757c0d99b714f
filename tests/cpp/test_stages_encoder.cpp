// Tests of the encoder stage over formula graphs.
#include <memory>
#include <vector>

#include "check.h"
#include "count_allocations.h"
#include "fake_runners.h"
#include "stages/encoder.h"
#include "stages/probe.h"

using namespace parley;

namespace {

constexpr std::size_t kMels = 3;
constexpr std::size_t kFrames = 4;
constexpr std::size_t kWidth = 5;
const StopFlag kGo;

EncoderShape shape() {
  return {.n_mels = kMels, .segment_mel_frames = 8, .chunk_mel_frames = 4};
}

std::vector<StateSpec> states() {
  return {{{"count", DType::i64, {1}}, 7.0}, {{"sum", DType::f32, {1, kMels}}, 0.25}};
}

std::unique_ptr<Encoder> chunk_encoder() {
  return make_graph_encoder(nullptr, fake::encoder_chunk(kMels, kFrames, kWidth), states(),
                            shape());
}

std::vector<float> mel_of_chunk(int chunk) {
  std::vector<float> mel(kMels * kFrames);
  for (std::size_t i = 0; i < mel.size(); ++i) {
    mel[i] = std::sin(static_cast<float>(chunk * 13) + static_cast<float>(i));
  }
  return mel;
}

std::vector<float> encode(const Encoder& encoder, StageState& state, int chunk) {
  std::vector<float> feature(kWidth);
  encoder.encode_chunk(state, mel_of_chunk(chunk), feature, kGo);
  return feature;
}

std::unique_ptr<Encoder> with_states(std::vector<StateSpec> specs) {
  return make_graph_encoder(nullptr, fake::encoder_chunk(kMels, kFrames, kWidth), std::move(specs),
                            shape());
}

}  // namespace

TEST(a_segment_fills_features_and_the_probe_also_rows_before_the_adapter) {
  const auto graph = fake::encoder_segment(kMels, 8, 2, kWidth);
  const auto encoder = make_graph_encoder(graph, nullptr, {}, shape());
  CHECK_EQ(encoder->width(), kWidth);
  CHECK_EQ(encoder->segment_features(8), 2U);
  CHECK(!encoder->has_short_form());
  std::vector<float> mel(kMels * 8);
  for (std::size_t i = 0; i < mel.size(); ++i) mel[i] = static_cast<float>(i);
  std::vector<float> features(2 * kWidth);
  encoder->encode_segment(mel, features, kGo);
  CHECK_EQ(features[kWidth + 2], 1.0F + 2.0F);
  const auto& probe = probe_of<EncoderProbe>(*encoder);
  CHECK_EQ(probe.encoded_width(), 3U);
  const EncoderProbe::Rows rows = probe.encode(mel, kGo);
  CHECK_EQ(rows.encoded.size(), 4U * 3U);
  CHECK_EQ(rows.encoded[3], 6.0F);
  CHECK(rows.features == features);
}

TEST(a_graph_of_any_length_takes_shorter_segments) {
  EncoderShape two = shape();
  two.feature_halvings = 2;
  const auto graph = fake::encoder_segment(kMels, -1, -1, kWidth);
  const auto encoder = make_graph_encoder(graph, nullptr, {}, two);
  CHECK(encoder->has_short_form());
  const std::vector<std::size_t> features = {1, 1, 1, 1, 2, 2, 2, 2};
  const std::vector<std::size_t> frames = {1, 1, 2, 2, 3, 3, 4, 4};
  for (std::size_t n = 1; n <= 8; ++n) {
    CHECK_EQ(encoder->segment_features(n), features[n - 1]);
    const std::vector<float> mel(kMels * n, 3.0F);
    std::vector<float> rows(features[n - 1] * kWidth);
    encoder->encode_segment(mel, rows, kGo);
    CHECK_EQ(rows.back(), 3.0F + static_cast<float>(kWidth - 1));
    const EncoderProbe::Rows probed = probe_of<EncoderProbe>(*encoder).encode(mel, kGo);
    CHECK_EQ(probed.encoded.size(), frames[n - 1] * 3);
    CHECK_EQ(probed.encoded.back(), 6.0F);
    CHECK(probed.features == rows);
  }
  std::vector<float> mel(kMels * 9);
  std::vector<float> rows(2 * kWidth);
  for (const std::size_t n : {0U, 1U, 8U, 27U})
    CHECK_THROWS_MSG(InputError, "log_mel",
                     encoder->encode_segment(std::span(mel).first(n), rows, kGo));
  CHECK_THROWS_MSG(InputError, "features",
                   encoder->encode_segment(std::span(mel).first(12), rows, kGo));
  CHECK_THROWS_MSG(
      BundleError, "features",
      make_graph_encoder(fake::encoder_segment(kMels, -1, 2, kWidth), nullptr, {}, two));
}

TEST(wrong_buffer_sizes_are_input_errors) {
  const auto encoder =
      make_graph_encoder(fake::encoder_segment(kMels, 8, 2, kWidth), nullptr, {}, shape());
  std::vector<float> mel(kMels * 8);
  std::vector<float> features(2 * kWidth);
  CHECK_THROWS_MSG(InputError, "log_mel",
                   encoder->encode_segment(std::span(mel).first(5), features, kGo));
  CHECK_THROWS_MSG(InputError, "features",
                   encoder->encode_segment(mel, std::span(features).first(1), kGo));
}

TEST(states_start_with_their_initial_value) {
  const auto encoder = chunk_encoder();
  const StatePtr state = encoder->create_state();
  std::vector<float> mel(kMels * kFrames);
  std::vector<float> feature(kWidth);
  encoder->encode_chunk(*state, mel, feature, kGo);
  // Three sums of half of 0.25, and the counter's 7 times 10.
  CHECK_EQ(feature[0], 3 * 0.125F + 70.0F);
}

TEST(commit_carries_the_state_and_rollback_is_as_if_never_run) {
  const auto encoder = chunk_encoder();
  const StatePtr plain = encoder->create_state();
  const StatePtr wild = encoder->create_state();
  for (int chunk = 0; chunk < 6; ++chunk) {
    const std::vector<float> expected = encode(*encoder, *plain, chunk);
    plain->commit();
    for (int wrong = 0; wrong < chunk % 3; ++wrong) {
      encode(*encoder, *wild, 100 + wrong);
      wild->rollback();
    }
    CHECK(encode(*encoder, *wild, chunk) == expected);
    wild->commit();
    wild->commit();  // nothing new: no effect
  }
}

TEST(reset_is_as_created) {
  const auto encoder = chunk_encoder();
  const StatePtr state = encoder->create_state();
  const std::vector<float> first = encode(*encoder, *state, 0);
  state->commit();
  const std::vector<float> second = encode(*encoder, *state, 0);
  CHECK(first != second);
  state->reset();
  CHECK(encode(*encoder, *state, 0) == first);
}

TEST(a_failed_or_stopped_chunk_leaves_the_state_as_before) {
  const auto graph = fake::encoder_chunk(kMels, kFrames, kWidth);
  const auto encoder = make_graph_encoder(nullptr, graph, states(), shape());
  const StatePtr state = encoder->create_state();
  const StatePtr other = encoder->create_state();
  encode(*encoder, *state, 0);
  encode(*encoder, *other, 0);
  state->commit();
  other->commit();
  graph->fail_at = graph->runs() + 1;
  CHECK_THROWS_MSG(Error, "fake.run", encode(*encoder, *state, 1));
  graph->fail_at = 0;
  StopFlag stopped;
  stopped.set();
  std::vector<float> feature(kWidth);
  CHECK_THROWS_MSG(CancelledError, "cancel",
                   encoder->encode_chunk(*state, mel_of_chunk(1), feature, stopped));
  CHECK(encode(*encoder, *state, 1) == encode(*encoder, *other, 1));
}

TEST(two_chunks_without_commit_are_refused) {
  const auto encoder = chunk_encoder();
  const StatePtr state = encoder->create_state();
  encode(*encoder, *state, 0);
  CHECK_THROWS_MSG(Error, "encoder.encode_chunk", encode(*encoder, *state, 1));
}

TEST(a_chunk_allocates_nothing) {
  const auto encoder = chunk_encoder();
  const StatePtr state = encoder->create_state();
  const std::vector<float> mel = mel_of_chunk(0);
  std::vector<float> feature(kWidth);
  const long n = check::allocations([&] {
    for (int i = 0; i < 20; ++i) {
      encoder->encode_chunk(*state, mel, feature, kGo);
      i % 3 == 0 ? state->rollback() : state->commit();
    }
  });
  CHECK_EQ(n, 0);
}

TEST(a_contract_that_differs_is_named) {
  auto extra = states();
  extra.push_back({{"keys", DType::f32, {2}}, 0.0});
  CHECK_THROWS_MSG(BundleError, "state_in.keys", with_states(extra));
  CHECK_THROWS_MSG(BundleError, "also state_in.count", with_states({states()[1]}));
  auto other_shape = states();
  other_shape[1].tensor.shape = {1, kMels + 1};
  CHECK_THROWS_MSG(BundleError, "state_in.sum f32 [1, 4], got f32 [1, 3]",
                   with_states(other_shape));
  auto other_type = states();
  other_type[0].tensor.type = DType::f32;
  CHECK_THROWS_MSG(BundleError, "state_in.count f32 [1], got i64 [1]", with_states(other_type));
  auto free_shape = states();
  free_shape[0].tensor.shape = {-1};
  CHECK_THROWS_MSG(BundleError, "state_in.count i64 [any]", with_states(free_shape));
}

TEST(a_fork_goes_on_by_itself) {
  const auto encoder = chunk_encoder();
  const StatePtr state = encoder->create_state();
  const StatePtr fork = encoder->create_state();
  for (int chunk = 0; chunk < 3; ++chunk) {
    encode(*encoder, *state, chunk);
    state->commit();
  }
  encode(*encoder, *fork, 9);
  fork->commit();
  copy_state(*state, *fork);
  const auto forked = encode(*encoder, *fork, 3);
  fork->commit();
  CHECK(encode(*encoder, *fork, 4) != encode(*encoder, *state, 4));
  state->rollback();
  CHECK(encode(*encoder, *state, 3) == forked);
}

TEST(a_missing_state_output_is_named) {
  const auto graph = std::make_shared<fake::Graph>(
      std::vector<TensorSpec>{{"log_mel", DType::f32, {1, kMels, kFrames}},
                              {"state_in.x", DType::f32, {1}}},
      std::vector<TensorSpec>{{"features", DType::f32, {1, 1, kWidth}}},
      [](fake::Tensors, fake::Tensors) {});
  CHECK_THROWS_MSG(BundleError, "state_out.x",
                   make_graph_encoder(nullptr, graph, {{{"x", DType::f32, {1}}, 0.0}}, shape()));
}

TEST(forms_must_agree_and_one_must_be_there) {
  CHECK_THROWS_MSG(BundleError, "neither", make_graph_encoder(nullptr, nullptr, {}, shape()));
  CHECK_THROWS_MSG(
      BundleError, "one width",
      make_graph_encoder(fake::encoder_segment(kMels, 8, 2, kWidth + 1),
                         fake::encoder_chunk(kMels, kFrames, kWidth), states(), shape()));
  const auto segment =
      make_graph_encoder(fake::encoder_segment(kMels, 8, 2, kWidth), nullptr, {}, shape());
  CHECK_THROWS_MSG(BundleError, "encoder_chunk", segment->create_state());
  std::vector<float> mel(kMels * 8);
  std::vector<float> features(2 * kWidth);
  CHECK_THROWS_MSG(BundleError, "encoder_segment",
                   chunk_encoder()->encode_segment(mel, features, kGo));
}
