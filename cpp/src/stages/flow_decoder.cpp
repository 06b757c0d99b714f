// The flow decoder stage: whole utterances and bounded windows of a stream; knows no waveform.
#include "stages/flow_decoder.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "stages/flow_graphs.h"
#include "stages/flow_window.h"
#include "stages/noise.h"

namespace parley {

namespace {

std::int64_t signed_size(std::size_t n) {
  return static_cast<std::int64_t>(n);
}

// Where a reply stands. Codes older than the past are dropped, so its size does not grow.
struct Reply {
  std::uint64_t seed = 0;
  std::uint32_t number = 0;
  bool started = false;
  bool ended = false;
  std::int64_t received = 0;  // codes
  std::int64_t decoded = 0;   // codes
  std::int64_t first = 0;     // number of the oldest code kept
  std::vector<std::int32_t> codes;

  // Takes as many codes as there is room for, and returns how many.
  std::size_t append(std::span<const std::int32_t> more) {
    const std::size_t n = std::min(more.size(), codes.capacity() - codes.size());
    codes.insert(codes.end(), more.begin(), more.begin() + static_cast<std::ptrdiff_t>(n));
    received += signed_size(n);
    return n;
  }

  void drop_before(std::int64_t code) {
    if (code <= first) return;
    codes.erase(codes.begin(), codes.begin() + static_cast<std::ptrdiff_t>(code - first));
    first = code;
  }

  void begin(std::uint64_t new_seed, std::uint32_t new_number) {
    codes.clear();
    seed = new_seed;
    number = new_number;
    started = true;
    ended = false;
    received = decoded = first = 0;
  }
};

// Latent frames of a voice: those of its codes, and those that reach over them into the reply.
struct PromptFrames {
  std::size_t own = 0;
  std::size_t overlap = 0;
};

PromptFrames prompt_frames(const Voice& voice, const FlowConfig& config) {
  const std::size_t own = voice.tokens.size() * config.frames_per_code;
  const std::size_t latents = voice.latents.size() / config.z;
  return {own, latents > own ? latents - own : 0};
}

class FlowState final : public StageState {
 public:
  FlowState(std::shared_ptr<const Voice> the_voice, std::vector<float> the_modulations,
            const FlowConfig& config)
      : voice(std::move(the_voice)),
        modulations(std::move(the_modulations)),
        workspace(config, voice->tokens.size() + window_codes(config)),
        prompt(prompt_frames(*voice, config)),
        prompt_noise_(prompt.own * config.z),
        z_(config.z) {
    for (Reply* reply : {&current, &next, &committed_}) reply->codes.reserve(window_codes(config));
  }

  static std::size_t window_codes(const FlowConfig& config) {
    return config.past_codes + config.codes_per_chunk + config.lookahead_codes;
  }

  void commit() override { committed_ = current; }
  void rollback() override { current = committed_; }
  void reset() override {
    current.codes.clear();
    current.received = current.decoded = current.first = 0;
    current.started = current.ended = false;
    commit();
  }

  // Drawn once per reply; a rollback to the reply before draws it again.
  std::span<const float> prompt_noise(const Reply& reply) {
    if (!noise_drawn_ || noise_seed_ != reply.seed || noise_reply_ != reply.number) {
      fill_flow_noise(reply.seed, reply.number, -signed_size(prompt.own), z_, prompt_noise_);
      noise_drawn_ = true;
      noise_seed_ = reply.seed;
      noise_reply_ = reply.number;
    }
    return prompt_noise_;
  }

  const std::shared_ptr<const Voice> voice;
  const std::vector<float> modulations;
  FlowWorkspace workspace;
  const PromptFrames prompt;
  Reply current;
  Reply next;  // what a push works on; it becomes `current` only where the push succeeds

 private:
  Reply committed_;
  std::vector<float> prompt_noise_;  // [prompt frames, z]
  std::size_t z_;
  bool noise_drawn_ = false;
  std::uint64_t noise_seed_ = 0;
  std::uint32_t noise_reply_ = 0;
};

void check_config(const FlowConfig& config) {
  const auto refuse = [](const std::string& expected, const std::string& got) {
    throw BundleError("[flow_decoder.create] expected " + expected + ", got " + got +
                      "; correct the manifest's flow section");
  };
  if (config.points < 2) refuse("at least 2 time points", std::to_string(config.points));
  if (config.z == 0 || config.hidden == 0 || config.frames_per_code == 0 ||
      config.codes_per_chunk == 0) {
    refuse("z, hidden, frames_per_code and codes_per_chunk above 0", "a zero");
  }
  if (config.latent_mean.size() != config.z || config.latent_var.size() != config.z) {
    refuse(std::to_string(config.z) + " latent means and variances",
           std::to_string(config.latent_mean.size()) + " and " +
               std::to_string(config.latent_var.size()));
  }
  for (float variance : config.latent_var) {
    if (!(variance >= 0.0F)) {
      refuse("latent variances of at least 0", std::to_string(variance));
    }
  }
}

class GraphFlowDecoder final : public FlowDecoder {
 public:
  GraphFlowDecoder(FlowGraphs graphs, FlowConfig config)
      : config_((check_config(config), std::move(config))),
        runs_(std::move(graphs), config_),
        cut_{signed_size(config_.codes_per_chunk), signed_size(config_.past_codes),
             signed_size(config_.lookahead_codes)} {
    for (float variance : config_.latent_var) deviation_.push_back(std::sqrt(variance));
  }

  const FlowConfig& config() const override { return config_; }

  StatePtr create_state(std::shared_ptr<const Voice> voice) const override {
    check_voice(*voice);
    std::vector<float> modulations = runs_.modulations(voice->speaker, StopFlag());
    return std::make_unique<FlowState>(std::move(voice), std::move(modulations), config_);
  }

  void begin_reply(StageState& state, std::uint64_t seed, std::uint32_t reply) const override {
    state_as<FlowState>(state).current.begin(seed, reply);
  }

  Frames push(StageState& state, std::span<const std::int32_t> codes, bool last,
              std::span<float> latents, const StopFlag& stop) const override {
    auto& mine = state_as<FlowState>(state);
    check_push(mine.current, codes, last, latents.size());
    Reply& reply = mine.next;
    reply = mine.current;
    const std::int64_t first_code = reply.decoded;
    std::size_t taken = 0;
    std::span<float> out = latents;
    while (true) {
      taken += reply.append(codes.subspan(taken));
      const bool ends = last && taken == codes.size();
      const FlowWindow window = next_window(reply.received, reply.decoded, ends, cut_);
      if (window.own_end == window.own) break;
      decode_window(mine, window, out, stop);
      out = out.subspan(static_cast<std::size_t>(window.own_end - window.own) * code_values());
      reply.decoded = window.own_end;
      reply.drop_before(reply.decoded - cut_.past_codes);
    }
    reply.ended = last;
    const auto n = static_cast<std::size_t>(reply.decoded - first_code) * config_.frames_per_code;
    const auto begin = static_cast<std::size_t>(first_code) * config_.frames_per_code;
    std::swap(mine.current, mine.next);
    return {n, std::min(n, mine.prompt.overlap > begin ? mine.prompt.overlap - begin : 0)};
  }

  std::vector<float> decode(const Voice& voice, std::span<const std::int32_t> codes,
                            std::span<const float> noise, std::uint64_t seed,
                            Trajectory* trajectory, const StopFlag& stop) const override {
    check_voice(voice);
    check_codes("decode", codes);
    const std::vector<float> modulations = runs_.modulations(voice.speaker, stop);
    const std::size_t n_codes = voice.tokens.size() + codes.size();
    FlowWorkspace workspace(config_, n_codes);
    const auto end = std::copy(voice.tokens.begin(), voice.tokens.end(), workspace.codes.begin());
    std::copy(codes.begin(), codes.end(), end);
    const PromptFrames prompt = prompt_frames(voice, config_);
    if (noise.empty()) {
      fill_flow_noise(seed, 0, -signed_size(prompt.own), config_.z, workspace.x);
    } else if (noise.size() == workspace.x.size()) {
      std::copy(noise.begin(), noise.end(), workspace.x.begin());
    } else {
      throw InputError("[flow_decoder.decode] expected noise of " +
                       std::to_string(workspace.x.size()) + " values (all frames of prompt and " +
                       "reply), got " + std::to_string(noise.size()) + "; pass none to draw it");
    }
    if (n_codes == 0) return {};
    runs_.solve(workspace, n_codes, condition(voice, n_codes * config_.frames_per_code),
                modulations, trajectory, stop);
    const std::size_t begin =
        std::min((prompt.own + prompt.overlap) * config_.z, workspace.x.size());
    std::vector<float> latents(workspace.x.size() - begin);
    denormalise(std::span(workspace.x).subspan(begin), latents);
    return latents;
  }

 private:
  std::size_t code_values() const { return config_.frames_per_code * config_.z; }

  // The voice's latents, at most `frames` of them.
  std::span<const float> condition(const Voice& voice, std::size_t frames) const {
    return std::span(voice.latents).first(std::min(voice.latents.size(), frames * config_.z));
  }

  void denormalise(std::span<const float> rows, std::span<float> out) const {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      out[i] = rows[i] * deviation_[i % config_.z] + config_.latent_mean[i % config_.z];
    }
  }

  // Solves [voice prompt | past | own | look-ahead] and writes the own frames to the start of
  // `out`.
  void decode_window(FlowState& mine, const FlowWindow& window, std::span<float> out,
                     const StopFlag& stop) const {
    const Reply& reply = mine.next;
    const Voice& voice = *mine.voice;
    FlowWorkspace& workspace = mine.workspace;
    const auto kept = reply.codes.begin() + static_cast<std::ptrdiff_t>(window.begin - reply.first);
    const auto end = std::copy(voice.tokens.begin(), voice.tokens.end(), workspace.codes.begin());
    std::copy_n(kept, window.end - window.begin, end);

    const std::size_t n_codes =
        voice.tokens.size() + static_cast<std::size_t>(window.end - window.begin);
    const std::span<float> x = std::span(workspace.x).first(n_codes * code_values());
    const std::size_t prompt_values = mine.prompt.own * config_.z;
    const std::span<const float> prompt_noise = mine.prompt_noise(reply);
    std::copy(prompt_noise.begin(), prompt_noise.end(), x.begin());
    fill_flow_noise(reply.seed, reply.number, window.begin * signed_size(config_.frames_per_code),
                    config_.z, x.subspan(prompt_values));

    // What reaches over the prompt's codes belongs to the reply's first frames and to no others.
    const std::size_t n_condition = mine.prompt.own + (window.begin == 0 ? mine.prompt.overlap : 0);
    runs_.solve(workspace, n_codes,
                condition(voice, std::min(n_condition, n_codes * config_.frames_per_code)),
                mine.modulations, nullptr, stop);

    const std::size_t own = static_cast<std::size_t>(window.own_end - window.own) * code_values();
    const std::size_t past = static_cast<std::size_t>(window.own - window.begin) * code_values();
    denormalise(x.subspan(prompt_values + past, own), out.first(own));
    const std::size_t begin = static_cast<std::size_t>(window.own) * config_.frames_per_code;
    if (begin < mine.prompt.overlap) {
      const std::size_t silent = std::min(own, (mine.prompt.overlap - begin) * config_.z);
      std::fill_n(out.begin(), silent, 0.0F);
    }
  }

  void check_push(const Reply& reply, std::span<const std::int32_t> codes, bool last,
                  std::size_t room) const {
    if (!reply.started || reply.ended) {
      throw InputError(std::string("[flow_decoder.push] expected begin_reply() first, got codes ") +
                       (reply.ended ? "behind the last ones" : "of no reply") +
                       "; begin the reply before its codes");
    }
    check_codes("push", codes);
    const std::int64_t after = decodable(reply.received + signed_size(codes.size()), last, cut_);
    const auto n = static_cast<std::size_t>(std::max(after, reply.decoded) - reply.decoded);
    if (room < n * code_values()) {
      throw InputError("[flow_decoder.push] expected room for " +
                       std::to_string(n * code_values()) + " values, got " + std::to_string(room) +
                       "; size the buffer by max_frames()");
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
};

}  // namespace

std::unique_ptr<FlowDecoder> make_graph_flow_decoder(FlowGraphs graphs, FlowConfig config) {
  return std::make_unique<GraphFlowDecoder>(std::move(graphs), std::move(config));
}

}  // namespace parley
