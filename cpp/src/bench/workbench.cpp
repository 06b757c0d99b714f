// Single stages of an opened bundle, run by the engine's own code, so that they can be verified.
#include "bench/workbench.h"

#include <algorithm>

#include "audio/log_mel.h"
#include "audio/resampler.h"
#include "session/listen/duplex_listener.h"
#include "session/listen/prompt_template.h"
#include "session/listen/turns_listener.h"
#include "stages/contract.h"

namespace parley {

namespace {

// Turns are what the published half-duplex checks need; a duplex-only bundle says so.
const TurnsConfig& turns_of(const Bundle::Impl& bundle, const char* verb) {
  if (bundle.manifest().turns) return *bundle.manifest().turns;
  throw InputError(std::string("[workbench.") + verb +
                   "] expected a bundle with mode turns, got one without; use the chunk forms");
}

void check_rows(const char* verb, std::size_t size, std::size_t width) {
  if (width > 0 && size > 0 && size % width == 0) return;
  throw InputError(std::string("[workbench.") + verb + "] expected rows of " +
                   std::to_string(width) + " numbers, got " + std::to_string(size) +
                   "; pass an array of that width");
}

void check_cut(const char* verb, std::size_t cut) {
  if (cut > 0) return;
  throw InputError(std::string("[workbench.") + verb +
                   "] expected a cut of at least 1, got 0; say how many go in at a time");
}

}  // namespace

Workbench::Workbench(std::shared_ptr<const Bundle::Impl> bundle, const std::string& voice,
                     const FlowSettings& flow, std::vector<float> noise)
    : bundle_(std::move(bundle)), voice_(bundle_->voice(voice)), flow_(bundle_->flow_with(flow)) {
  if (noise.empty()) return;
  FlowConfig config = with_flow(bundle_->manifest(), flow).flow;
  check_rows("open", noise.size(), config.z);
  config.noise = std::move(noise);
  flow_ = bundle_->stages().flow(config);
}

ListenerParts Workbench::listener_parts() const {
  return {bundle_->encoder(),
          bundle_->tokens(),
          std::make_shared<SteadyClock>(),
          bundle_->manifest().front_end,
          bundle_->manifest().rates.input_chunk(),
          false};
}

std::vector<float> Workbench::resample(std::span<const float> samples, int from_hz,
                                       int to_hz) const {
  const FrontEndConfig& config = bundle_->manifest().front_end;
  return parley::resample(samples, from_hz, to_hz, config.resampler_zeros,
                          config.resampler_rolloff);
}

TurnSegments Workbench::cut(std::span<const float> samples) const {
  return cut_turn(samples, bundle_->manifest().front_end);
}

std::vector<float> Workbench::log_mel(std::span<const float> segment) const {
  const FrontEndConfig& config = bundle_->manifest().front_end;
  const SegmentLogMel front_end(config);
  std::vector<float> frames(static_cast<std::size_t>(config.n_mels) *
                            front_end.n_frames(segment.size()));
  front_end.compute(segment, frames);
  return frames;
}

EncoderProbe::Rows Workbench::encode_segment(std::span<const float> log_mel) const {
  if (bundle_->manifest().graph(contract::encoder_segment::kGraph) == nullptr)
    turns_of(*bundle_, "encode_segment");
  return probe_of<EncoderProbe>(*bundle_->encoder()).encode(log_mel, never_);
}

std::size_t Workbench::encoded_width() const {
  return probe_of<EncoderProbe>(*bundle_->encoder()).encoded_width();
}

std::vector<float> Workbench::turn_features(std::span<const float> samples,
                                            std::optional<bool> short_segments) const {
  TurnsConfig turns = turns_of(*bundle_, "turn_features");
  turns.short_segments = short_segments.value_or(turns.short_segments);
  check_short_form(turns, *bundle_->encoder(), "workbench.turn_features");
  const auto room = static_cast<std::size_t>(bundle_->manifest().limits.context);
  TurnsListener listener(listener_parts(), std::move(turns), {},
                         bundle_->manifest().vocabulary.audio_placeholder, {.room = room});
  const std::size_t chunk = bundle_->manifest().rates.input_chunk();
  Timing timing;
  for (std::size_t at = 0; at < samples.size(); at += chunk) {
    listener.take_in(samples.subspan(at, std::min(chunk, samples.size() - at)), Floor::listening,
                     timing, never_);
    listener.commit();
  }
  listener.end_turn(0, 0);
  listener.take_in({}, Floor::preparing, timing, never_);
  const std::size_t width = bundle_->encoder()->width();
  std::vector<float> features;
  for (const Position& position : listener.heard().positions)
    if (position.feature != nullptr)
      features.insert(features.end(), position.feature, position.feature + width);
  return features;
}

std::vector<float> Workbench::chunk_features(std::span<const float> samples) const {
  if (!bundle_->manifest().duplex) {
    throw InputError(
        "[workbench.chunk_features] expected a bundle with mode duplex, got one without; export "
        "with --duplex");
  }
  DuplexListener listener(listener_parts());
  const std::size_t chunk = bundle_->manifest().rates.input_chunk();
  const std::size_t width = bundle_->encoder()->width();
  check_rows("chunk_features", samples.size(), chunk);
  Timing timing;
  std::vector<float> features;
  for (std::size_t at = 0; at < samples.size(); at += chunk) {
    listener.take_in(samples.subspan(at, chunk), Floor::listening, timing, never_);
    listener.commit();
    const float* feature = listener.heard().positions[0].feature;
    features.insert(features.end(), feature, feature + width);
  }
  return features;
}

std::vector<std::int32_t> Workbench::turn_ids(const std::vector<std::size_t>& pieces, bool first,
                                              const std::optional<std::string>& system) const {
  const TurnsConfig& turns = turns_of(*bundle_, "turn_ids");
  const auto prompt = bundle_->manifest().prompts.find("system");
  const std::string ours = prompt == bundle_->manifest().prompts.end() ? "" : prompt->second;
  const std::string used = system.value_or(ours);
  return expand_template(*bundle_->tokens(), first ? turns.first : turns.next,
                         {.system = used,
                          .placeholder = bundle_->manifest().vocabulary.audio_placeholder,
                          .pieces = pieces,
                          .between = turns.between});
}

void Workbench::reset_backbone() {
  backbone_state_.reset();
  backbone_.reset();
}

std::span<const float> Workbench::feed(std::span<const std::int32_t> ids,
                                       std::span<const float> features) {
  if (!backbone_state_) {
    backbone_ = bundle_->backbone(bundle_->manifest().limits.context);
    backbone_state_ = backbone_->create_state();
  }
  const std::size_t width = backbone_->width();
  if (!features.empty()) check_rows("feed", features.size(), width);
  const std::int32_t placeholder = bundle_->manifest().vocabulary.audio_placeholder;
  const auto wanted = static_cast<std::size_t>(std::count(ids.begin(), ids.end(), placeholder));
  if (wanted * width != features.size()) {
    throw InputError("[workbench.feed] expected one feature per placeholder, got " +
                     std::to_string(features.size() / width) + " for " + std::to_string(wanted) +
                     "; pass as many rows as placeholders");
  }
  std::vector<Position> positions;
  const float* feature = features.data();
  for (std::int32_t id : ids) {
    positions.push_back({id, id == placeholder ? feature : nullptr});
    if (id == placeholder) feature += width;
  }
  backbone_->feed(*backbone_state_, positions, true, never_);
  backbone_state_->commit();
  return backbone_->logits(*backbone_state_);
}

void Workbench::begin_turn(std::span<const std::int32_t> ids) {
  const Manifest& manifest = bundle_->manifest();
  if (!sampler_) {
    sampler_.emplace(static_cast<std::size_t>(manifest.backbone.vocab_size),
                     static_cast<std::size_t>(manifest.limits.context), 0);
  }
  SamplingConfig config =
      manifest.turns ? manifest.turns->first_sampling : manifest.duplex->sampling;
  config.temperature = 0.0F;
  sampler_->begin_turn(config, ids);
}

std::int32_t Workbench::pick(std::span<const float> logits) {
  const std::int32_t vocab_size = bundle_->manifest().backbone.vocab_size;
  if (!sampler_ || logits.size() != static_cast<std::size_t>(vocab_size)) {
    throw InputError("[workbench.pick] expected begin_turn() and " + std::to_string(vocab_size) +
                     " logits, got " + std::to_string(logits.size()) + "; call begin_turn()");
  }
  const Slot all = {{0, vocab_size}};
  const std::int32_t id = sampler_->pick(logits, all);
  sampler_->accept(id);
  return id;
}

std::vector<float> Workbench::flow_field(std::span<const float> inputs, std::size_t batch,
                                         std::size_t frames, float t) const {
  return flow_probe().evaluate(*voice_, inputs, batch, frames, t, never_);
}

Workbench::Flow Workbench::flow_decode(std::span<const std::int32_t> codes,
                                       std::span<const float> noise, std::uint64_t seed) const {
  Flow flow;
  flow.latents = flow_probe().decode(*voice_, codes, noise, seed, &flow.trajectory, never_);
  return flow;
}

void Workbench::flow_begin(std::uint64_t seed) {
  if (!flow_state_) flow_state_ = flow_->create_state(voice_);
  flow_->begin_reply(*flow_state_, seed, 0);  // the noise of flow_decode
  flow_state_->commit();
}

std::vector<float> Workbench::flow_push(std::span<const std::int32_t> codes, bool last) {
  if (!flow_state_) flow_begin(0);
  const std::size_t z = flow_->shape().z;
  std::vector<float> room((max_frames(flow_->shape(), codes.size()) + flow_->tail_frames(*voice_)) *
                          z);
  const FlowDecoder::Frames frames = flow_->push(*flow_state_, codes, last, room, never_);
  flow_state_->commit();
  return {room.begin() + static_cast<std::ptrdiff_t>(frames.skip * z),
          room.begin() + static_cast<std::ptrdiff_t>(frames.n * z)};
}

std::vector<float> Workbench::flow_stream(std::span<const std::int32_t> codes, std::uint64_t seed,
                                          std::size_t cut) {
  check_cut("flow_stream", cut);
  flow_begin(seed);
  std::vector<float> latents;
  for (std::size_t at = 0; at < codes.size(); at += cut) {
    const std::size_t n = std::min(cut, codes.size() - at);
    const std::vector<float> some = flow_push(codes.subspan(at, n), at + n == codes.size());
    latents.insert(latents.end(), some.begin(), some.end());
  }
  return latents;
}

std::vector<float> Workbench::vocode(std::span<const float> latents,
                                     std::span<const float> noise) const {
  VocoderConfig config = bundle_->vocoder()->config();
  check_rows("vocode", latents.size(), config.z);
  config.max_push_frames = latents.size() / config.z;  // all in one run
  config.noise.assign(noise.begin(), noise.end());
  return VocoderStream(bundle_->stages().vocoder(config)).push(latents, true);
}

VocoderStream::VocoderStream(std::shared_ptr<const Vocoder> vocoder)
    : vocoder_(std::move(vocoder)), state_(vocoder_->create_state()) {
  begin();
}

void VocoderStream::begin() {
  vocoder_->begin_reply(*state_);
  state_->commit();
}

std::vector<float> VocoderStream::push(std::span<const float> latents, bool last) {
  const VocoderConfig& config = vocoder_->config();
  std::vector<float> samples((latents.size() / config.z + config.lookahead_frames) *
                             config.samples_per_latent);
  samples.resize(vocoder_->push(*state_, latents, last, samples, {}));
  state_->commit();
  return samples;
}

VocoderStream Workbench::vocoder_stream(std::optional<std::size_t> lookahead_frames) const {
  VocoderConfig config = bundle_->vocoder()->config();
  if (lookahead_frames.value_or(0) > config.full_lookahead_frames) {
    throw InputError("[workbench.vocoder_stream] expected a look-ahead of at most " +
                     std::to_string(config.full_lookahead_frames) + " latent frames, got " +
                     std::to_string(*lookahead_frames) + "; choose fewer");
  }
  config.lookahead_frames = lookahead_frames.value_or(config.lookahead_frames);
  return VocoderStream(bundle_->stages().vocoder(config));
}

std::vector<float> Workbench::vocode_stream(std::span<const float> latents, std::size_t cut) const {
  const std::size_t z = bundle_->vocoder()->config().z;
  check_rows("vocode_stream", latents.size(), z);
  check_cut("vocode_stream", cut);
  VocoderStream stream = vocoder_stream({});
  std::vector<float> samples;
  for (std::size_t at = 0; at < latents.size(); at += cut * z) {
    const std::size_t n = std::min(cut * z, latents.size() - at);
    const std::vector<float> more = stream.push(latents.subspan(at, n), at + n == latents.size());
    samples.insert(samples.end(), more.begin(), more.end());
  }
  return samples;
}

}  // namespace parley
