// The flow decoder stage: whole utterances, and the chunks of a stream; knows no waveform.
#include "stages/flow/decoder.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>
#include <utility>

#include "stages/flow/noise.h"
#include "stages/flow/state.h"
#include "stages/flow/voice_setups.h"
#include "stages/probe.h"

namespace parley {

namespace {

std::int64_t signed_size(std::size_t n) {
  return static_cast<std::int64_t>(n);
}

class GraphFlowDecoder final : public FlowDecoder, public FlowProbe {
 public:
  GraphFlowDecoder(FlowGraphs graphs, FlowConfig config)
      : config_((check_flow_config(config), std::move(config))),
        runs_(std::move(graphs), config_),
        cut_{signed_size(config_.run()), signed_size(config_.past_codes),
             signed_size(config_.lookahead_codes), signed_size(last_run())} {
    for (float variance : config_.latent_var) deviation_.push_back(std::sqrt(variance));
  }

  const FlowShape& shape() const override { return config_; }

  using FlowDecoder::create_state;
  StatePtr create_state(std::shared_ptr<const Voice> voice,
                        const SetupProgress& progress) const override {
    check_voice(*voice);
    if (config_.mode == FlowMode::exact) {
      throw InputError(
          "[flow_decoder.create_state] expected mode window or cached for a stream, got exact; use "
          "that one for whole utterances");
    }
    try {
      return make_state(setups_.get(
          *voice, progress, [&](const SetupProgress& told) { return set_up(voice, told); }));
    } catch (const std::bad_alloc&) {
      const Costs needed = costs(*voice);
      throw MemoryError("[flow_decoder.create_state] expected memory for " +
                        std::to_string((needed.voice_bytes + needed.state_bytes) >> 20U) +
                        " MiB of keys and values, got none; lower prompt_codes, past_codes or " +
                        "lookahead_codes");
    }
  }

  Costs costs(const Voice& voice) const override {
    const PromptFrames prompt = prompt_frames(shortened(voice, config_), config_);
    Costs costs;
    costs.prompt_frames = prompt.own;
    if (config_.mode != FlowMode::cached) return costs;
    costs.voice_bytes = PromptCache::bytes(runs_.sizes(), runs_.plan(), prompt.own);
    costs.state_bytes = StreamMemory::bytes(runs_.sizes(), runs_.plan(), stream_frames());
    costs.setup_evaluations = runs_.plan().size();
    return costs;
  }

  std::size_t tail_frames(const Voice& voice) const override {
    return prompt_frames(shortened(voice, config_), config_).tail;
  }

  void begin_reply(StageState& state, std::uint64_t seed, std::uint32_t reply) const override {
    state_as<FlowState>(state).begin(seed, reply);
  }

  Frames push(StageState& state, std::span<const std::int32_t> codes, bool last,
              std::span<float> latents, const StopFlag& stop) const override {
    auto& mine = state_as<FlowState>(state);
    check_push(mine, codes, last, latents.size());
    ReplyCodes& reply = mine.next;
    reply = mine.current;
    const std::int64_t first_code = reply.decoded;
    std::size_t written = 0;
    if (mine.codes) mine.codes->tensors.mark();
    try {
      written = decode_all(mine, codes, last, latents, stop);
    } catch (...) {
      if (mine.codes) mine.codes->tensors.back();
      throw;
    }
    reply.ended = last;
    const std::size_t n = written / config_.z;
    const auto begin = static_cast<std::size_t>(first_code) * config_.frames_per_code;
    std::swap(mine.current, mine.next);
    const std::size_t lead_in = mine.setup->prompt.lead_in;
    return {n, std::min(n, lead_in > begin ? lead_in - begin : 0)};
  }

  std::vector<float> evaluate(const Voice& voice, std::span<const float> inputs,
                              std::size_t branches, std::size_t frames, float t,
                              const StopFlag& stop) const override {
    FlowWorkspace workspace = make_workspace(frames / config_.frames_per_code + 1);
    const std::size_t row = config_.hidden + 2 * config_.z;
    if (branches < 1 || branches > 2 || inputs.size() != branches * frames * row) {
      throw InputError("[flow_decoder.evaluate] expected 1 or 2 branches of rows of " +
                       std::to_string(row) + " numbers, got " + std::to_string(inputs.size()) +
                       " numbers for " + std::to_string(branches) + " branches of " +
                       std::to_string(frames) + " frames; pass an array of that shape");
    }
    const std::vector<float> modulation = runs_.modulations(voice.speaker, {&t, 1}, stop);
    const FlowPlan plan = {{.t = t, .guided = branches == 2}};
    WholeRun memory(runs_.sizes(), plan, frames);
    std::copy(inputs.begin(), inputs.end(), workspace.inputs.begin());
    runs_.run_field(workspace, branches, frames, modulation, memory.recall(0, frames), stop);
    workspace.velocity.resize(branches * frames * config_.z);
    return workspace.velocity;
  }

  std::vector<float> decode(const Voice& voice, std::span<const std::int32_t> codes,
                            std::span<const float> noise, std::uint64_t seed,
                            FlowTrajectory* trajectory, const StopFlag& stop) const override {
    check_voice(voice);
    check_codes("decode", codes);
    const std::vector<float> modulations = runs_.modulations(voice.speaker, stop);
    const std::size_t n_codes = voice.tokens.size() + codes.size();
    FlowWorkspace workspace = make_workspace(n_codes);
    std::fill(workspace.codes.begin(), workspace.codes.end(), CodeReader::kUnknown);
    const auto end = std::copy(voice.tokens.begin(), voice.tokens.end(), workspace.codes.begin());
    std::copy(codes.begin(), codes.end(), end);
    const PromptFrames prompt = prompt_frames(voice, config_);
    if (noise.empty()) {
      const auto of_prompt = std::span(workspace.x).first(prompt.own * config_.z);
      fill_noise(config_, {0, 0, prompt.own}, -signed_size(prompt.own), of_prompt);
      fill_noise(config_, {seed, 0, prompt.own}, 0,
                 std::span(workspace.x).subspan(of_prompt.size()));
    } else if (noise.size() == workspace.x.size()) {
      std::copy(noise.begin(), noise.end(), workspace.x.begin());
    } else {
      throw InputError("[flow_decoder.decode] expected noise of " +
                       std::to_string(workspace.x.size()) + " values (all frames of prompt and " +
                       "reply), got " + std::to_string(noise.size()) + "; pass none to draw it");
    }
    if (n_codes == 0) return {};
    const std::size_t frames = n_codes * config_.frames_per_code;
    WholeRun memory(runs_.sizes(), runs_.plan(), frames);
    const std::unique_ptr<CodeMemory> read = runs_.codes().create_memory();
    const FlowGraphRuns::Codes all{n_codes + runs_.codes().only_seen(), voice, read.get()};
    runs_.fill_inputs(workspace, all, frames, latents_of(voice, 0, frames), stop);
    runs_.solve(workspace, frames, modulations, memory, trajectory, stop);
    const std::size_t begin =
        codes.empty()
            ? workspace.x.size()
            : std::min((prompt.own + prompt.lead_in - prompt.tail) * config_.z, workspace.x.size());
    std::vector<float> latents(workspace.x.size() - begin);
    denormalise(std::span(workspace.x).subspan(begin), latents);
    return latents;
  }

 private:
  std::size_t code_values() const { return config_.frames_per_code * config_.z; }

  // The voice's latents from `first`, at most `frames` of them.
  std::span<const float> latents_of(const Voice& voice, std::size_t first,
                                    std::size_t frames) const {
    const std::size_t all = voice.latents.size() / config_.z;
    const std::size_t begin = std::min(first, all);
    return std::span(voice.latents)
        .subspan(begin * config_.z, std::min(frames, all - begin) * config_.z);
  }

  // What is only seen ahead gets no frames of its own, so a last run takes what would have been.
  std::size_t last_run() const {
    const std::size_t ahead = runs_.codes().streams() ? config_.lookahead_codes : 0;
    return config_.run() + ahead - std::min<std::size_t>(ahead, 1);
  }

  FlowWorkspace make_workspace(std::size_t max_codes) const {
    return FlowWorkspace(config_, runs_.sizes(), max_codes, runs_.codes().only_seen());
  }

  StatePtr make_state(std::shared_ptr<const VoiceSetup> setup) const {
    const std::size_t own = last_run() + config_.lookahead_codes;
    const std::size_t factor = config_.frames_per_code;
    const bool cached = config_.mode == FlowMode::cached;
    const std::size_t most =
        cached ? own + 1 : setup->voice.tokens.size() + config_.past_codes + own;
    FlowState::Parts parts{std::move(setup), make_workspace(most), nullptr, nullptr,
                           runs_.codes().create_memory()};
    if (cached) {
      parts.stream = std::make_unique<StreamMemory>(runs_.sizes(), runs_.plan(), parts.setup->cache,
                                                    stream_frames());
    } else {
      parts.whole = std::make_unique<WholeRun>(runs_.sizes(), runs_.plan(), most * factor);
    }
    return std::make_unique<FlowState>(std::move(parts), config_);
  }

  StreamMemory::Frames stream_frames() const {
    const std::size_t factor = config_.frames_per_code;
    // A step may decode the run that waited behind a look-ahead and its own.
    return {config_.past_codes * factor, 2 * config_.run() * factor,
            (last_run() + config_.lookahead_codes) * factor};
  }

  std::shared_ptr<const VoiceSetup> set_up(std::shared_ptr<const Voice> whole,
                                           const SetupProgress& progress) const {
    auto setup = std::make_shared<VoiceSetup>();
    setup->voice = shortened(*whole, config_);
    setup->whole = std::move(whole);
    setup->prompt = prompt_frames(setup->voice, config_);
    setup->modulations = runs_.modulations(setup->voice.speaker, StopFlag());
    setup->noise.resize(setup->prompt.own * config_.z);
    fill_noise(config_, {0, 0, setup->prompt.own}, -signed_size(setup->prompt.own), setup->noise);
    if (config_.mode == FlowMode::cached) setup->cache = solve_prompt(*setup, progress);
    return setup;
  }

  // The prompt's own way from noise to latents, seeing nothing of any reply.
  std::shared_ptr<const PromptCache> solve_prompt(VoiceSetup& setup,
                                                  const SetupProgress& progress) const {
    const Voice& voice = setup.voice;
    const std::size_t frames = setup.prompt.own;
    auto cache = std::make_shared<PromptCache>();
    FlowWorkspace workspace = make_workspace(voice.tokens.size());
    PromptMemory memory(runs_.sizes(), runs_.plan(), frames, *cache, progress);
    setup.codes = runs_.codes().create_memory();
    if (frames == 0) return cache;
    const StopFlag never;
    std::copy(voice.tokens.begin(), voice.tokens.end(), workspace.codes.begin());
    // Ahead the prompt sees its own beginning, as published.
    const std::size_t n = voice.tokens.size();
    for (std::size_t i = n; i < workspace.codes.size(); ++i)
      workspace.codes[i] = voice.tokens[(i - n) % n];
    std::copy(setup.noise.begin(), setup.noise.end(), workspace.x.begin());
    const FlowGraphRuns::Codes codes{workspace.codes.size(), voice, setup.codes.get()};
    runs_.fill_inputs(workspace, codes, frames, latents_of(voice, 0, frames), never);
    runs_.solve(workspace, frames, setup.modulations, memory, nullptr, never);
    const auto tail = std::span(workspace.x).last(setup.prompt.tail * config_.z);
    setup.tail.assign(tail.begin(), tail.end());
    return cache;
  }

  void denormalise(std::span<const float> rows, std::span<float> out) const {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      out[i] = rows[i] * deviation_[i % config_.z] + config_.latent_mean[i % config_.z];
    }
  }

  // Takes codes into mine.next and writes what becomes final; returns how many values that was.
  std::size_t decode_all(FlowState& mine, std::span<const std::int32_t> codes, bool last,
                         std::span<float> latents, const StopFlag& stop) const {
    ReplyCodes& reply = mine.next;
    std::size_t taken = 0;
    std::size_t written = 0;
    while (true) {
      taken += reply.append(codes.subspan(taken));
      const bool ends = last && taken == codes.size();
      const FlowWindow window = next_window(reply.received, reply.decoded, ends, cut_);
      if (window.own_end == window.own) return written;
      written += decode_chunk(mine, window, latents.subspan(written), stop);
      reply.decoded = window.own_end;
      reply.drop_before(reply.decoded - std::max<std::int64_t>(cut_.past_codes, 1));
    }
  }

  // Writes the own frames of a window to the start of `out`, before a reply's first ones the
  // voice's tail, and returns how many values that were.
  std::size_t decode_chunk(FlowState& mine, const FlowWindow& window, std::span<float> out,
                           const StopFlag& stop) const {
    const std::size_t values =
        static_cast<std::size_t>(window.own_end - window.own) * code_values();
    const std::size_t at =
        mine.stream ? solve_own(mine, window, stop) : solve_window(mine, window, stop);
    const auto x = std::span<const float>(mine.workspace.x);
    const auto own = x.subspan(at, values);
    for (const float value : own) mine.broken = mine.broken || !std::isfinite(value);
    const PromptFrames& prompt = mine.setup->prompt;
    std::size_t n_tail = 0;
    if (window.own == 0) {
      n_tail = prompt.tail * config_.z;
      denormalise(mine.stream ? mine.setup->tail : x.first(at).last(n_tail), out);
    }
    denormalise(own, out.subspan(n_tail));
    const std::size_t begin = static_cast<std::size_t>(window.own) * config_.frames_per_code;
    if (begin < prompt.lead_in)
      std::fill_n(out.begin(), std::min(values, (prompt.lead_in - begin) * config_.z), 0.0F);
    return n_tail + values;
  }

  // Codes of the reply from number `from` to the window's end, into the workspace behind `n`
  // others.
  std::size_t copy_codes(FlowState& mine, std::int64_t from, const FlowWindow& window,
                         std::size_t n) const {
    const ReplyCodes& reply = mine.next;
    const auto first = reply.codes.begin() + static_cast<std::ptrdiff_t>(from - reply.first);
    std::copy_n(first, window.end - from,
                mine.workspace.codes.begin() + static_cast<std::ptrdiff_t>(n));
    return n + static_cast<std::size_t>(window.end - from);
  }

  // Solves [voice prompt | past | own | look-ahead] and returns where own values begin.
  std::size_t solve_window(FlowState& mine, const FlowWindow& window, const StopFlag& stop) const {
    const ReplyCodes& reply = mine.next;
    const VoiceSetup& setup = *mine.setup;
    FlowWorkspace& workspace = mine.workspace;
    std::copy(setup.voice.tokens.begin(), setup.voice.tokens.end(), workspace.codes.begin());
    const std::size_t n_codes = copy_codes(mine, window.begin, window, setup.voice.tokens.size());
    const std::size_t frames = n_codes * config_.frames_per_code;
    const std::span<float> x = std::span(workspace.x).first(frames * config_.z);
    std::copy(setup.noise.begin(), setup.noise.end(), x.begin());
    fill_noise(config_, {reply.seed, reply.number, setup.prompt.own},
               window.begin * signed_size(config_.frames_per_code), x.subspan(setup.noise.size()));

    // What reaches over the prompt's codes belongs to the reply's first frames and to no others.
    const std::size_t n_condition =
        setup.prompt.own + (window.begin == 0 ? setup.prompt.lead_in : 0);
    const auto condition = latents_of(setup.voice, 0, std::min(n_condition, frames));
    runs_.fill_inputs(workspace, {n_codes, setup.voice}, frames, condition, stop);
    runs_.solve(workspace, frames, setup.modulations, *mine.whole, nullptr, stop);
    return setup.noise.size() + static_cast<std::size_t>(window.own - window.begin) * code_values();
  }

  // Solves [own | look-ahead], which recall the rest, and returns where own values begin.
  std::size_t solve_own(FlowState& mine, const FlowWindow& window, const StopFlag& stop) const {
    const ReplyCodes& reply = mine.next;
    const VoiceSetup& setup = *mine.setup;
    FlowWorkspace& workspace = mine.workspace;
    const CodeReader& reader = runs_.codes();
    // A reader without a memory wants a code before: the reply's, in front of that the voice's.
    const bool first = window.own == 0;
    const bool of_voice = first && reader.before() > 0 && !setup.voice.tokens.empty();
    if (of_voice) workspace.codes[0] = setup.voice.tokens.back();
    const auto before = first ? 0 : signed_size(reader.before());
    std::size_t n_codes = copy_codes(mine, window.own - before, window, of_voice ? 1 : 0);
    const auto own = static_cast<std::size_t>(window.own_end - window.own);
    const auto solved = reader.streams() ? own : static_cast<std::size_t>(window.end - window.own);
    for (; n_codes < solved + reader.only_seen(); ++n_codes)
      workspace.codes[n_codes] = CodeReader::kUnknown;
    const std::size_t frames = solved * config_.frames_per_code;
    const std::int64_t done = window.own * signed_size(config_.frames_per_code);
    fill_noise(config_, {reply.seed, reply.number, setup.prompt.own}, done,
               std::span(workspace.x).first(frames * config_.z));
    const auto lead_in =
        latents_of(setup.voice, setup.prompt.own + static_cast<std::size_t>(done), frames);
    runs_.fill_inputs(workspace, {n_codes, setup.voice, mine.codes.get()}, frames, lead_in, stop);
    mine.stream->place(done, own * config_.frames_per_code);
    runs_.solve(workspace, frames, setup.modulations, *mine.stream, nullptr, stop);
    return 0;
  }

  void check_push(const FlowState& mine, std::span<const std::int32_t> codes, bool last,
                  std::size_t room) const {
    const ReplyCodes& reply = mine.current;
    if (!reply.started || reply.ended) {
      throw InputError(std::string("[flow_decoder.push] expected begin_reply() first, got codes ") +
                       (reply.ended ? "behind the last ones" : "of no reply") +
                       "; begin the reply before its codes");
    }
    check_codes("push", codes);
    const std::int64_t after = decodable(reply.received + signed_size(codes.size()), last, cut_);
    const auto n = static_cast<std::size_t>(std::max(after, reply.decoded) - reply.decoded);
    const std::size_t tail = reply.decoded == 0 && n > 0 ? mine.setup->prompt.tail * config_.z : 0;
    if (room < n * code_values() + tail) {
      throw InputError("[flow_decoder.push] expected room for " +
                       std::to_string(n * code_values() + tail) + " values, got " +
                       std::to_string(room) +
                       "; size the buffer by max_frames() and tail_frames()");
    }
  }

  // An id of -1 is padding in the graph, which no reply has.
  void check_codes(const char* verb, std::span<const std::int32_t> codes) const {
    for (std::int32_t code : codes) {
      if (code >= 0 && (config_.n_codes == 0 || code < config_.n_codes)) continue;
      throw InputError(std::string("[flow_decoder.") + verb + "] expected codes from 0 to " +
                       std::to_string(config_.n_codes - 1) + ", got " + std::to_string(code) +
                       "; subtract the vocabulary's audio_begin from ids");
    }
  }

  void check_voice(const Voice& voice) const {
    if (voice.latents.size() % config_.z == 0) return;
    throw BundleError("[flow_decoder.voice] expected latents in rows of " +
                      std::to_string(config_.z) + ", got " + std::to_string(voice.latents.size()) +
                      " values; use a voice made for this bundle");
  }

  FlowConfig config_;
  FlowGraphRuns runs_;
  FlowCut cut_;
  std::vector<float> deviation_;  // [z]
  mutable VoiceSetups setups_;
};

}  // namespace

std::unique_ptr<FlowDecoder> make_graph_flow_decoder(FlowGraphs graphs, FlowConfig config) {
  return std::make_unique<GraphFlowDecoder>(std::move(graphs), std::move(config));
}

}  // namespace parley
