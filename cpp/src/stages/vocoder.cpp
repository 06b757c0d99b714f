// The vocoder stage: whole runs and bounded windows of a stream; knows no code and no turn.
#include "stages/vocoder.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "stages/contract.h"
#include "stages/graph_check.h"

namespace parley {

namespace {

constexpr char kWhere[] = "vocoder.create";

std::int64_t signed_size(std::size_t n) {
  return static_cast<std::int64_t>(n);
}

// Where a reply stands. Frames older than the left context are dropped, so its size does not grow.
struct Reply {
  bool started = false;
  bool ended = false;
  std::int64_t received = 0;  // latent frames
  std::int64_t emitted = 0;   // latent frames whose samples are out
  std::int64_t first = 0;     // number of the oldest frame kept
  std::vector<float> frames;  // [received - first, z]

  void clear() {
    frames.clear();
    started = ended = false;
    received = emitted = first = 0;
  }
};

class VocoderState final : public StageState {
 public:
  explicit VocoderState(const VocoderConfig& config) {
    const std::size_t window =
        config.left_frames + config.lookahead_frames + config.max_push_frames;
    for (Reply* reply : {&current, &next, &committed_}) reply->frames.reserve(window * config.z);
    transposed.resize(window * config.z);
    wave.resize(window * config.samples_per_latent);
  }

  void commit() override { committed_ = current; }
  void rollback() override { current = committed_; }
  void reset() override {
    current.clear();
    commit();
  }

  Reply current;
  Reply next;  // what a push works on; it becomes `current` only where the push succeeds
  std::vector<float> transposed;  // [z, T]
  std::vector<float> wave;        // [samples_per_latent * T]

 private:
  Reply committed_;
};

class GraphVocoder final : public Vocoder {
 public:
  GraphVocoder(std::shared_ptr<const GraphRunner> graph, VocoderConfig config)
      : graph_(std::move(graph)), config_(config) {
    namespace names = contract::vocoder;
    if (!graph_) {
      throw BundleError(std::string("[") + kWhere + "] expected graph " + names::kGraph +
                        ", got none; export the bundle again");
    }
    if (config_.z == 0 || config_.samples_per_latent == 0 || config_.max_push_frames == 0) {
      throw BundleError(std::string("[") + kWhere + "] expected z, samples_per_latent and " +
                        "max_push_frames above 0, got a zero; correct the manifest");
    }
    const std::vector<TensorSpec> inputs = {
        {names::kLatents, DType::f32, {1, signed_size(config_.z), -1}}};
    const std::vector<TensorSpec> outputs = {{names::kWave, DType::f32, {1, 1, -1}}};
    bind_inputs(*graph_, kWhere, names::kGraph, inputs);
    bind_outputs(*graph_, kWhere, names::kGraph, outputs);
  }

  const VocoderConfig& config() const override { return config_; }

  StatePtr create_state() const override { return std::make_unique<VocoderState>(config_); }

  void begin_reply(StageState& state) const override {
    auto& reply = state_as<VocoderState>(state).current;
    reply.clear();
    reply.started = true;
  }

  std::size_t push(StageState& state, std::span<const float> latents, bool last,
                   std::span<float> samples, const StopFlag& stop) const override {
    auto& mine = state_as<VocoderState>(state);
    check_push(mine.current, latents.size(), last, samples.size());
    mine.next = mine.current;
    const std::size_t piece = config_.max_push_frames * config_.z;
    std::size_t written = 0;
    // The buffers hold max_push_frames new ones; more come in pieces.
    do {
      stop.check();
      const auto part = latents.first(std::min(piece, latents.size()));
      latents = latents.subspan(part.size());
      written += push_piece(mine, part, last && latents.empty(), samples.subspan(written), stop);
    } while (!latents.empty());
    mine.next.ended = last;
    std::swap(mine.current, mine.next);
    return written;
  }

  std::vector<float> decode(std::span<const float> latents, const StopFlag& stop) const override {
    check_rows("decode", latents.size());
    const std::size_t frames = latents.size() / config_.z;
    std::vector<float> samples(frames * config_.samples_per_latent);
    if (frames == 0) return samples;
    std::vector<float> transposed(latents.size());
    run(latents, transposed, samples, stop);
    return samples;
  }

 private:
  // `latents` [T, z] by way of `transposed` [z, T] to `wave` [samples_per_latent * T].
  void run(std::span<const float> latents, std::span<float> transposed, std::span<float> wave,
           const StopFlag& stop) const {
    const std::size_t frames = latents.size() / config_.z;
    for (std::size_t t = 0; t < frames; ++t) {
      for (std::size_t c = 0; c < config_.z; ++c) {
        transposed[c * frames + t] = latents[t * config_.z + c];
      }
    }
    const std::array<TensorView, 1> inputs = {
        view(transposed.data(), {1, signed_size(config_.z), signed_size(frames)})};
    const std::array<TensorView, 1> outputs = {
        view(wave.data(), {1, 1, signed_size(frames * config_.samples_per_latent)})};
    graph_->run(inputs, outputs, stop);
  }

  // Recomputes the window [left context | waiting | new] and emits what has its look-ahead. At the
  // start of a reply there is no left context: the window begins as a whole run does.
  std::size_t push_piece(VocoderState& mine, std::span<const float> latents, bool last,
                         std::span<float> samples, const StopFlag& stop) const {
    Reply& reply = mine.next;
    reply.frames.insert(reply.frames.end(), latents.begin(), latents.end());
    reply.received += signed_size(latents.size() / config_.z);
    const std::int64_t behind = last ? 0 : signed_size(config_.lookahead_frames);
    const std::int64_t n = reply.received - behind - reply.emitted;
    if (n <= 0) return 0;

    run(reply.frames, mine.transposed, mine.wave, stop);
    const std::size_t skipped =
        static_cast<std::size_t>(reply.emitted - reply.first) * config_.samples_per_latent;
    const std::size_t n_samples = static_cast<std::size_t>(n) * config_.samples_per_latent;
    std::copy_n(mine.wave.begin() + static_cast<std::ptrdiff_t>(skipped), n_samples,
                samples.begin());
    reply.emitted += n;
    const std::int64_t keep =
        std::max(reply.first, reply.emitted - signed_size(config_.left_frames));
    const std::size_t dropped = static_cast<std::size_t>(keep - reply.first) * config_.z;
    reply.frames.erase(reply.frames.begin(),
                       reply.frames.begin() + static_cast<std::ptrdiff_t>(dropped));
    reply.first = keep;
    return n_samples;
  }

  void check_push(const Reply& reply, std::size_t n_values, bool last, std::size_t room) const {
    if (!reply.started || reply.ended) {
      throw InputError(std::string("[vocoder.push] expected begin_reply() first, got frames ") +
                       (reply.ended ? "behind the last ones" : "of no reply") +
                       "; begin the reply before its frames");
    }
    check_rows("push", n_values);
    const std::int64_t received = reply.received + signed_size(n_values / config_.z);
    const std::int64_t behind = last ? 0 : signed_size(config_.lookahead_frames);
    const std::int64_t n = std::max<std::int64_t>(received - behind - reply.emitted, 0);
    const std::size_t needed = static_cast<std::size_t>(n) * config_.samples_per_latent;
    if (room < needed) {
      throw InputError("[vocoder.push] expected room for " + std::to_string(needed) +
                       " samples, got " + std::to_string(room) + "; size the buffer for " +
                       "(frames + lookahead_frames) * samples_per_latent");
    }
  }

  void check_rows(const char* verb, std::size_t n_values) const {
    if (n_values % config_.z == 0) return;
    throw InputError(std::string("[vocoder.") + verb + "] expected latents in rows of " +
                     std::to_string(config_.z) + ", got " + std::to_string(n_values) +
                     " values; pass whole frames");
  }

  std::shared_ptr<const GraphRunner> graph_;
  VocoderConfig config_;
};

}  // namespace

std::unique_ptr<Vocoder> make_graph_vocoder(std::shared_ptr<const GraphRunner> graph,
                                            VocoderConfig config) {
  return std::make_unique<GraphVocoder>(std::move(graph), config);
}

}  // namespace parley
