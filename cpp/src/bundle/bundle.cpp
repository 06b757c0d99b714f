// Reads a manifest, picks runners, builds stages and sessions: the one file that names concrete
// ones.
#include "bundle/bundle.h"

#include <algorithm>

#include "base/sha256.h"
#include "bundle/flow_section.h"
#include "bundle/origin.h"
#include "bundle/watched_graph.h"
#include "runners/llama/model.h"
#include "runners/ort/external_data.h"
#include "runners/ort/ort.h"
#include "session/listen/prompt_template.h"
#include "session/listen/turns_listener.h"
#include "session/saved.h"
#include "session/session.h"
#include "stages/contract.h"
#include "stages/graph_check.h"

namespace parley {

namespace {

// Positions that a duplex chunk may add before the window is trimmed, with room to spare.
constexpr std::int64_t kWindowSlack = 64;
// Below this a pass takes about a millisecond on one core, and waiting for a second thread costs
// more than it saves: beside a busy neighbour 5 s were seen where one thread took 1 ms.
constexpr std::int64_t kOneThreadBytes = std::int64_t{64} << 20;
// A system prompt longer than this is refused rather than given cells without end.
constexpr std::int64_t kMaxPromptPositions = 2048;

std::vector<TensorSpec> with_states(std::vector<TensorSpec> tensors, const char* prefix,
                                    const std::vector<StateSpec>& states) {
  for (const StateSpec& state : states) {
    TensorSpec spec = state.tensor;
    spec.name = prefix + spec.name;
    tensors.push_back(std::move(spec));
  }
  return tensors;
}

void check_custom_ops(const std::string& graph, const std::vector<std::string>& wanted) {
  const std::vector<std::string>& known = graph_custom_ops();
  for (const std::string& op : wanted) {
    if (std::find(known.begin(), known.end(), op) != known.end()) continue;
    std::string names;
    for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
    throw BundleError("[bundle.open] expected operators that this parley has (" + names +
                      ") in graph " + graph + ", got " + op +
                      "; use a newer parley, or export the bundle with --no-fused");
  }
}

void check_options(const SessionOptions& options) {
  const auto refuse = [](const char* expected, const std::string& got) {
    throw InputError(std::string("[bundle.session] expected ") + expected + ", got " + got +
                     "; pass a value in range");
  };
  if (options.temperature && !(*options.temperature >= 0.0F && *options.temperature <= 100.0F))
    refuse("a temperature from 0 to 100", std::to_string(*options.temperature));
  if (options.top_k && *options.top_k < 0)
    refuse("top_k of 0 (all) or more", std::to_string(*options.top_k));
  if (options.top_p && !(*options.top_p > 0.0F && *options.top_p <= 1.0F))
    refuse("top_p above 0 and at most 1", std::to_string(*options.top_p));
  if (options.max_new_tokens && *options.max_new_tokens < 1)
    refuse("max_new_tokens of 1 or more", std::to_string(*options.max_new_tokens));
  if (options.prefill_budget < 0)
    refuse("prefill_budget of 0 (no limit) or more", std::to_string(options.prefill_budget));
}

void check_one_stream(const Manifest& manifest) {
  if (!manifest.head) return;
  throw BundleError(
      "[bundle.session] expected a bundle whose backbone makes the codes itself, got one with a "
      "speech head, of which this parley runs the stages alone; use a newer parley");
}

// What only some models do, in turns.
void check_turn_options(const SessionOptions& options, Mode mode, const Manifest& manifest) {
  if (options.text_only && (mode != Mode::turns || !manifest.turns->speech.has_groups())) {
    throw InputError(
        "[bundle.session] expected no text_only for a model that always speaks, got it; leave it "
        "out");
  }
  if (options.tools.empty()) return;
  if (mode != Mode::turns || manifest.turns->tools.schemas.empty()) {
    throw InputError(
        "[bundle.session] expected no tools in mode duplex or for a model that knows none, got "
        "some; leave them out");
  }
  try {
    if (json::parse(options.tools).kind == json::Kind::array) return;
  } catch (const json::ParseError&) {
  }
  throw InputError("[bundle.session] expected tools as a JSON list of schemas, got other text; " +
                   std::string("pass a list"));
}

}  // namespace

Bundle::Impl::Impl(const std::filesystem::path& folder, const OpenOptions& options,
                   std::span<const Family> families)
    : folder_(folder),
      manifest_(with_flow(read_manifest(folder), options.flow)),
      kv_(options.kv),
      threads_(options.threads),
      onnxruntime_(options.onnxruntime) {
  if (kv_ != "f16" && kv_ != "bf16" && kv_ != "q8_0" && kv_ != "f32") {
    throw InputError("[bundle.open] expected kv f16, bf16, q8_0 or f32, got \"" + kv_ +
                     "\"; choose one of them");
  }
  // Found missing before gigabytes are read.
  origin_.build = build_name() + " with onnxruntime " + onnxruntime_version(options.onnxruntime) +
                  " and llama.cpp " + llama_version_of(options.llama);
  verify_files(folder_, manifest_.files, options.verify);

  stages_ = family_of(manifest_, families).build(manifest_, [&](const std::string& name) {
    return graph(name, options);
  });
  if (manifest_.turns) check_short_form(*manifest_.turns, *stages_.encoder, "bundle.open");
  flow_ = stages_.flow(manifest_.flow);
  vocoder_ = stages_.vocoder(manifest_.vocoder);
  tokens_ = open_token_model(
      options.llama, folder_ / manifest_.backbone.file,
      {.device = options.device, .kv_q8_0 = kv_ == "q8_0", .importance = options.importance});
  if (tokens_->vocab_size() != manifest_.backbone.vocab_size ||
      tokens_->width() != manifest_.backbone.width) {
    throw BundleError("[bundle.open] expected a backbone of " +
                      std::to_string(manifest_.backbone.vocab_size) + " ids and width " +
                      std::to_string(manifest_.backbone.width) + ", got " +
                      std::to_string(tokens_->vocab_size()) + " and " +
                      std::to_string(tokens_->width()) + "; export the bundle again");
  }
  read_voices();
  origin_.bundle = sha256_of(MappedFile(folder_, "manifest.json").bytes());
  origin_.settings =
      "device " + options.device + ", kv " + kv_ + ", flow " + flow_settings_text(manifest_.flow);
}

std::shared_ptr<const GraphRunner> Bundle::Impl::graph(const std::string& name,
                                                       const OpenOptions& options) const {
  const GraphEntry* entry = manifest_.graph(name);
  if (entry == nullptr) return nullptr;
  check_custom_ops(name, entry->custom_ops);
  check_external(MappedFile(folder_, entry->file), entry->external);
  GraphOptions settings;
  settings.device = options.device;
  settings.threads = options.threads;
  std::shared_ptr<const GraphRunner> runner =
      open_graph(options.onnxruntime, folder_ / entry->file, settings);
  bind_inputs(*runner, "bundle.open", name,
              with_states(entry->inputs, contract::kStateIn, entry->states));
  bind_outputs(*runner, "bundle.open", name,
               with_states(entry->outputs, contract::kStateOut, entry->states));
  return options.on_run ? watched(name, std::move(runner), options.on_run) : runner;
}

std::shared_ptr<const GraphRunner> Bundle::Impl::beside(const std::filesystem::path& graph) const {
  return open_graph(onnxruntime_, graph, {.threads = threads_});
}

std::shared_ptr<const FlowDecoder> Bundle::Impl::flow_with(const FlowSettings& settings) const {
  if (settings == FlowSettings()) return flow_;
  return stages_.flow(with_flow(manifest_, settings).flow);
}

void Bundle::Impl::read_voices() {
  for (const auto& [name, entry] : manifest_.voices) {
    auto voice = std::make_shared<Voice>();
    const std::vector<std::int32_t> tokens =
        read_i32(folder_, entry.tokens.file, entry.tokens.count());
    voice->tokens.assign(tokens.begin(), tokens.end());
    voice->latents = read_f32(folder_, entry.latents.file, entry.latents.count());
    voice->speaker = read_f32(folder_, entry.speaker.file, entry.speaker.count());
    for (std::int64_t token : voice->tokens) {
      if (token >= -1 && token < manifest_.vocabulary.audio_codes) continue;
      throw BundleError("[bundle.open] expected codes below " +
                        std::to_string(manifest_.vocabulary.audio_codes) + " in voice " + name +
                        ", got " + std::to_string(token) + "; export the bundle again");
    }
    voices_[name] = std::move(voice);
  }
}

std::shared_ptr<const Voice> Bundle::Impl::voice(const std::string& name) const {
  const auto found = voices_.find(name.empty() ? manifest_.default_voice : name);
  if (found != voices_.end()) return found->second;
  std::string known;
  for (const auto& [key, value] : voices_) known += (known.empty() ? "" : ", ") + key;
  throw InputError("[bundle.session] expected one of the voices " + known + ", got \"" + name +
                   "\"; choose one of them");
}

std::shared_ptr<const Backbone> Bundle::Impl::backbone(std::int64_t n_cells) const {
  TokenRunnerOptions options;
  options.n_cells = static_cast<std::int32_t>(n_cells);
  const bool small = manifest_.files.at(manifest_.backbone.file).bytes < kOneThreadBytes;
  options.threads = threads_ == 0 && small ? 1 : threads_;
  options.kv_q8_0 = kv_ == "q8_0";
  options.kv_bf16 = kv_ == "bf16";
  options.kv_f32 = kv_ == "f32";
  return make_token_backbone(tokens_, options);
}

Mode Bundle::Impl::pick_mode(const SessionOptions& options) const {
  const Mode mode = options.mode.value_or(has(Mode::duplex) ? Mode::duplex : Mode::turns);
  if (has(mode)) {
    check_turn_options(options, mode, manifest_);
    return mode;
  }
  if (mode == Mode::turns) {
    throw InputError(
        "[bundle.session] expected a bundle with mode turns, got one for duplex only; open the "
        "session with mode duplex");
  }
  throw InputError(
      "[bundle.session] expected a bundle with mode duplex, got one for turns only; use mode "
      "turns, or export a checkpoint that was trained for duplex with `parley export --duplex` "
      "(the published Chat weights were not)");
}

SessionParts Bundle::Impl::parts(const SessionOptions& options) const {
  check_one_stream(manifest_);
  check_options(options);
  const Mode mode = pick_mode(options);
  SessionParts parts;
  parts.encoder = stages_.encoder;
  parts.flow = flow_;
  parts.vocoder = vocoder_;
  parts.tokens = tokens_;
  parts.voice = voice(options.voice);
  parts.clock = std::make_shared<SteadyClock>();
  parts.front_end = manifest_.front_end;
  parts.vocabulary = manifest_.vocabulary;
  const auto system = manifest_.prompts.find("system");
  parts.system = options.system.value_or(system == manifest_.prompts.end() ? "" : system->second);
  parts.chunk_samples = manifest_.rates.input_chunk();
  parts.out_chunk_samples = manifest_.rates.output_chunk();
  parts.output_hz = manifest_.rates.output_hz;
  parts.codes_per_chunk = manifest_.flow.codes_per_chunk;
  parts.context = manifest_.limits.context;
  parts.seed = options.seed;
  parts.prefill_budget = options.prefill_budget;
  parts.overlap = options.overlap;
  parts.voice_progress = options.voice_progress;
  parts.on_draw = options.on_draw;
  Origin origin = origin_;
  origin.options = options;
  parts.origin = origin_text(origin);

  const auto adjust = [&](SamplingConfig& sampling) {
    sampling.temperature = options.temperature.value_or(sampling.temperature);
    sampling.top_k = options.top_k.value_or(sampling.top_k);
    sampling.top_p = options.top_p.value_or(sampling.top_p);
  };
  if (mode == Mode::turns) {
    parts.turns = manifest_.turns;
    parts.tools = options.tools;
    parts.text_only = options.text_only;
    adjust(parts.turns->first_sampling);
    adjust(parts.turns->sampling);
    parts.turns->max_new_tokens = options.max_new_tokens.value_or(parts.turns->max_new_tokens);
    parts.backbone = backbone(parts.context);
  } else {
    parts.duplex = manifest_.duplex;
    adjust(parts.duplex->sampling);
    parts.backbone =
        backbone(prompt_positions(parts) + parts.duplex->window_positions + kWindowSlack);
  }
  return parts;
}

// Of a duplex conversation's prompt, which stays while all else is forgotten.
std::int64_t Bundle::Impl::prompt_positions(const SessionParts& parts) const {
  const auto ids = expand_template(*tokens_, parts.duplex->prompt, {.system = parts.system});
  const auto n = static_cast<std::int64_t>(ids.size());
  if (n <= kMaxPromptPositions) return n;
  throw ContextError("[bundle.session] expected a system prompt of at most " +
                     std::to_string(kMaxPromptPositions) + " tokens, got " + std::to_string(n) +
                     "; shorten it");
}

Bundle::Bundle(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Bundle Bundle::open(const std::string& folder, const OpenOptions& options) {
  return Bundle(std::make_shared<const Impl>(folder, options));
}

Session Bundle::session(const SessionOptions& options) const {
  return make_session(impl_->parts(options));
}

Session Bundle::resume(const std::string& path, const VoiceProgress& voice_progress) const {
  const SavedSession saved = read_saved(path);
  SessionOptions options = options_of(saved.origin, impl_->origin());
  options.voice_progress = voice_progress;
  Session session = make_session(impl_->parts(options));
  ByteReader body(saved.body);
  Session::Impl::of(session).load(body);
  return session;
}

int Bundle::input_hz() const {
  return impl_->manifest().rates.input_hz;
}

int Bundle::output_hz() const {
  return impl_->manifest().rates.output_hz;
}

std::size_t Bundle::chunk_samples() const {
  return impl_->manifest().rates.input_chunk();
}

std::size_t Bundle::out_chunk_samples() const {
  return impl_->manifest().rates.output_chunk();
}

std::vector<Mode> Bundle::modes() const {
  std::vector<Mode> modes;
  for (Mode mode : {Mode::turns, Mode::duplex})
    if (impl_->has(mode)) modes.push_back(mode);
  return modes;
}

std::vector<std::string> Bundle::voices() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : impl_->manifest().voices) names.push_back(name);
  return names;
}

const std::string& Bundle::notice() const {
  return impl_->manifest().source.notice;
}

}  // namespace parley
