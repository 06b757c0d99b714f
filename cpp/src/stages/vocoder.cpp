// The vocoder stage: a stream with carried state; knows no code and no turn.
#include "stages/vocoder.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/philox.h"
#include "stages/contract.h"
#include "stages/graph_check.h"

namespace parley {

namespace {

namespace names = contract::vocoder;
namespace with_noise = contract::vocoder_with_noise;

constexpr char kWhere[] = "vocoder.create";
constexpr std::size_t kOwnInputs = 4;  // beside states, noise among them
// Noise of the source is drawn apart from all other that a seed gives.
constexpr std::uint32_t kSourceGroup = 0x80000000U;
// A reply whose end is not known: further ahead than any reply reaches.
constexpr std::int64_t kNoEnd = std::int64_t{1} << 40U;

std::int64_t signed_size(std::size_t n) {
  return static_cast<std::int64_t>(n);
}

// Where a reply stands.
struct Progress {
  bool started = false;
  bool ended = false;
  std::uint64_t seed = 0;
  std::uint32_t number = 0;
  std::int64_t received = 0;      // latent frames
  std::int64_t emitted = 0;       // latent frames whose samples are out
  std::vector<float> last_frame;  // [z], of those received

  void clear() {
    started = ended = false;
    seed = number = 0;
    received = emitted = 0;
    std::fill(last_frame.begin(), last_frame.end(), 0.0F);
  }
};

class VocoderState final : public StageState {
 public:
  VocoderState(const VocoderConfig& config, const std::vector<StateSpec>& specs)
      : tensors(specs, WholeTensors::Runs::many),
        lookahead_(signed_size(config.full_lookahead_frames)) {
    for (Progress* progress : {&current, &marked_, &committed_})
      progress->last_frame.resize(config.z);
    const std::size_t frames = config.max_push_frames + config.full_lookahead_frames;
    transposed.resize(frames * config.z);
    wave.resize(frames * config.samples_per_latent);
    if (config.source_lookahead_samples > 0) noise.resize(wave.size());
    const bool draws = config.source_lookahead_samples > 0;
    inputs.resize(kOwnInputs - (draws ? 0 : 1) + specs.size());
    outputs.resize(1 + specs.size());
  }

  // Runs that belong together begin here; where one fails, back() forgets them.
  void mark() {
    tensors.mark();
    marked_ = current;
  }
  void back() {
    tensors.back();
    current = marked_;
  }

  void commit() override {
    tensors.commit();
    committed_ = current;
  }
  void rollback() override {
    tensors.rollback();
    current = committed_;
  }
  void reset() override {
    current.clear();
    commit();
  }
  void save(ByteWriter& to) const override {
    to.put_flag(committed_.started);
    to.put_flag(committed_.ended);
    to.put(committed_.seed);
    to.put(committed_.number);
    to.put(committed_.received);
    to.put(committed_.emitted);
    to.put_all(std::span(committed_.last_frame));
    tensors.save(to);
  }
  void load(ByteReader& from) override {
    current.started = from.get_flag();
    current.ended = from.get_flag();
    current.seed = from.get<std::uint64_t>();
    current.number = from.get<std::uint32_t>();
    current.received = from.get<std::int64_t>();
    current.emitted = from.get<std::int64_t>();
    from.get_all(std::span(current.last_frame));
    ByteReader::require(current.received >= 0 && current.received < ByteReader::kMostCounted &&
                            current.emitted >= 0 && current.emitted <= current.received &&
                            current.emitted >= current.received - lookahead_,
                        "a reply's frames that make sense");
    tensors.load(from);
    commit();
  }

  WholeTensors tensors;
  Progress current;
  std::vector<float> transposed;  // [z, T]
  std::vector<float> wave;        // [samples_per_latent * T]
  std::vector<float> noise;       // as many, where the source is drawn
  std::vector<TensorView> inputs;
  std::vector<TensorView> outputs;

 private:
  Progress marked_;
  Progress committed_;
  std::int64_t lookahead_;  // frames that a run's wave is late
};

class GraphVocoder final : public Vocoder {
 public:
  GraphVocoder(std::shared_ptr<const GraphRunner> graph, VocoderConfig config)
      : graph_(std::move(graph)), config_(config) {
    if (!graph_) {
      throw BundleError(std::string("[") + kWhere + "] expected graph " + graph_name() +
                        ", got none; export the bundle again");
    }
    if (config_.z == 0 || config_.samples_per_latent == 0 || config_.max_push_frames == 0) {
      throw BundleError(std::string("[") + kWhere + "] expected z, samples_per_latent and " +
                        "max_push_frames above 0, got a zero; correct the manifest");
    }
    if (config_.lookahead_frames > full()) {
      throw BundleError(std::string("[") + kWhere + "] expected lookahead_frames of at most " +
                        std::to_string(full()) + " (full_lookahead_frames), got " +
                        std::to_string(config_.lookahead_frames) + "; correct the manifest");
    }
    const std::string history = names::kHistory;
    std::vector<TensorSpec> inputs = {
        {names::kLatents, DType::f32, {1, signed_size(config_.z), -1}},
        {names::kRange, DType::i64, {2}},
        {names::kKept, DType::i64, {1}},
        {contract::kStateIn + history, DType::f32, {kAnyFixed}}};
    const std::vector<TensorSpec> outputs = {
        {names::kWave, DType::f32, {1, 1, -1}},
        {contract::kStateOut + history, DType::f32, {kAnyFixed}}};
    if (draws()) inputs.insert(inputs.end() - 1, {with_noise::kNoise, DType::f32, {1, 1, -1}});
    const auto in = bind_inputs(*graph_, kWhere, graph_name(), inputs);
    const auto out = bind_outputs(*graph_, kWhere, graph_name(), outputs);
    for (std::size_t i = 0; i + 1 < in.size(); ++i) in_[i] = in[i].index;
    wave_ = out[0].index;
    states_ = GraphStates(*graph_, contract::kStateIn, contract::kStateOut);
  }

  const VocoderConfig& config() const override { return config_; }

  StatePtr create_state() const override {
    return std::make_unique<VocoderState>(config_, states_.specs());
  }

  using Vocoder::begin_reply;
  void begin_reply(StageState& state, std::uint64_t seed, std::uint32_t reply) const override {
    auto& mine = state_as<VocoderState>(state);
    mine.tensors.clear();
    mine.current.clear();
    mine.current.started = true;
    mine.current.seed = seed;
    mine.current.number = reply;
  }

  std::size_t push(StageState& state, std::span<const float> latents, bool last,
                   std::span<float> samples, const StopFlag& stop) const override {
    auto& mine = state_as<VocoderState>(state);
    check_push(mine.current, latents.size(), last, samples.size());
    mine.mark();
    std::size_t written = 0;
    try {
      for (bool done = latents.empty() && !last; !done;) {
        stop.check();
        const auto piece =
            latents.first(std::min(latents.size(), config_.max_push_frames * config_.z));
        latents = latents.subspan(piece.size());
        done = latents.empty();
        const Ahead ahead = !done ? Ahead::nothing : last ? Ahead::end : Ahead::held;
        written += advance(mine, piece, ahead, samples.subspan(written), stop);
      }
    } catch (...) {
      mine.back();
      throw;
    }
    mine.current.ended = last;
    return written;
  }

 private:
  using Range = std::array<std::int64_t, 2>;

  std::size_t full() const { return config_.full_lookahead_frames; }
  bool draws() const { return config_.source_lookahead_samples > 0; }
  const char* graph_name() const { return draws() ? with_noise::kGraph : names::kGraph; }

  // Of the samples behind those received; the source comes source_lookahead_samples late.
  void draw(const Progress& now, std::span<float> noise) const {
    const std::int64_t first = now.received * signed_size(config_.samples_per_latent) -
                               signed_size(config_.source_lookahead_samples);
    std::array<float, 4> values{};
    for (std::size_t i = 0; i < noise.size(); ++i) {
      const std::int64_t sample = first + signed_size(i);
      if (!config_.noise.empty()) {
        const bool given = sample >= 0 && sample < signed_size(config_.noise.size());
        noise[i] = given ? config_.noise[static_cast<std::size_t>(sample)] : 0.0F;
        continue;
      }
      const auto at = static_cast<std::uint64_t>(first + signed_size(i));
      if (i == 0 || at % 4 == 0) {
        values = normal4({static_cast<std::uint32_t>(at / 4),
                          static_cast<std::uint32_t>((at / 4) >> 32U), now.number, kSourceGroup},
                         now.seed);
      }
      noise[i] = values[at % 4];
    }
  }

  // What a run sees behind its own frames: nothing, the reply's end, or for want of the frames that
  // will come the last one held (measured 13 to 19 dB better than the end).
  enum class Ahead : std::uint8_t { nothing, end, held };

  // One run: `transposed` [z, T] behind what the state holds to `wave` [samples_per_latent * T],
  // which is `full()` frames late. The next state is that behind the first `kept` frames.
  void run(VocoderState& mine, std::span<const float> transposed, const Range& range,
           std::size_t kept, std::span<float> wave, const StopFlag& stop) const {
    const std::int64_t n_kept = signed_size(kept);
    mine.inputs[in_[0]] = view(
        transposed.data(), {1, signed_size(config_.z), signed_size(transposed.size() / config_.z)});
    mine.inputs[in_[1]] = view(range.data(), {2});
    mine.inputs[in_[2]] = view(&n_kept, {1});
    if (draws()) mine.inputs[in_[3]] = view(mine.noise.data(), {1, 1, signed_size(wave.size())});
    mine.outputs[wave_] = view(wave.data(), {1, 1, signed_size(wave.size())});
    mine.tensors.bind(states_, mine.inputs, mine.outputs);
    graph_->run(mine.inputs, mine.outputs, stop);
    mine.tensors.step();
  }

  // Takes frames into the memory, past ones are not computed again, and writes the samples that can
  // be heard now. What is ahead comes in the same run and stays out of the memory.
  std::size_t advance(VocoderState& mine, std::span<const float> latents, Ahead ahead,
                      std::span<float> samples, const StopFlag& stop) const {
    Progress& now = mine.current;
    const std::size_t own = latents.size() / config_.z;
    const std::size_t seen = ahead == Ahead::end    ? full()
                             : ahead == Ahead::held ? full() - config_.lookahead_frames
                                                    : 0;
    const std::size_t frames = own + seen;
    const auto transposed = std::span(mine.transposed).first(frames * config_.z);
    transpose(latents, own, frames, transposed);
    const std::span<const float> last = own > 0 ? latents.last(config_.z) : now.last_frame;
    for (std::size_t c = 0; c < config_.z; ++c)
      std::fill_n(transposed.begin() + static_cast<std::ptrdiff_t>(c * frames + own), seen,
                  ahead == Ahead::end ? 0.0F : last[c]);
    const auto wave = std::span(mine.wave).first(frames * config_.samples_per_latent);
    const std::int64_t end = ahead == Ahead::end ? signed_size(own) : kNoEnd;
    if (draws()) draw(now, std::span(mine.noise).first(wave.size()));
    run(mine, transposed, {-now.received, end}, own, wave, stop);
    if (own > 0) std::copy(last.begin(), last.end(), now.last_frame.begin());
    const std::size_t written = emit(now, wave, samples);
    now.received += signed_size(own);
    return written;
  }

  // Writes what is new in the wave of a run behind `now.received` frames.
  std::size_t emit(Progress& now, std::span<const float> wave, std::span<float> samples) const {
    const std::int64_t first = now.received - signed_size(full());
    const std::int64_t end = first + signed_size(wave.size() / config_.samples_per_latent);
    if (end <= now.emitted) return 0;
    const auto fresh =
        wave.subspan(static_cast<std::size_t>(now.emitted - first) * config_.samples_per_latent);
    std::copy(fresh.begin(), fresh.end(), samples.begin());
    now.emitted = end;
    return fresh.size();
  }

  // `latents` [n, z] to the first n of `width` columns; the others stay as they are.
  void transpose(std::span<const float> latents, std::size_t n, std::size_t width,
                 std::span<float> to) const {
    for (std::size_t t = 0; t < n; ++t)
      for (std::size_t c = 0; c < config_.z; ++c) to[c * width + t] = latents[t * config_.z + c];
  }

  void check_push(const Progress& reply, std::size_t n_values, bool last, std::size_t room) const {
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
  std::array<std::size_t, kOwnInputs> in_{};  // latents, range, kept, noise among the graph's
  std::size_t wave_ = 0;
  GraphStates states_;
};

}  // namespace

std::unique_ptr<Vocoder> make_graph_vocoder(std::shared_ptr<const GraphRunner> graph,
                                            VocoderConfig config) {
  return std::make_unique<GraphVocoder>(std::move(graph), config);
}

}  // namespace parley
