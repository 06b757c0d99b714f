// parley's public face: open a bundle, make a session, step it chunk by chunk.
//
//   parley::Bundle bundle = parley::Bundle::open("models/nano/bundle", {});
//   parley::Session session = bundle.session({});
//   std::vector<float> in(bundle.chunk_samples()), out(bundle.out_chunk_samples());
//   while (microphone.read(in)) {               // mono, -1..1, at bundle.input_hz()
//     const parley::Step step = session.step(in, out);
//     loudspeaker.write(out);                   // at bundle.output_hz(): the same time in sound
//     for (const parley::Event& event : step.events) show(event);
//   }
//
// Threads: a Bundle may be used from any number of threads. A Session belongs to one thread at a
// time; a second caller gets an InputError, except for interrupt(), cancel() and close(), which any
// thread may call at any time. Nothing here prints, exits or changes global state: what the
// libraries have to say is told to set_log()'s listener (log.hpp), and to nobody without one.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parley/errors.hpp"
#include "parley/events.hpp"
#include "parley/flow_settings.hpp"
#include "parley/resampler.hpp"

namespace parley {

// What a graph is about to read: an input's name, type (f32, f16, i64), shape and data.
struct GraphInput {
  std::string_view name;
  std::string_view type;
  std::span<const std::int64_t> shape;
  const void* data = nullptr;
};
// Sees each run of a graph, on whatever thread that is. What it throws ends the step.
using RunHook = std::function<void(std::string_view graph, std::span<const GraphInput> inputs)>;

struct OpenOptions {
  std::string onnxruntime;  // path of libonnxruntime; empty: $PARLEY_ONNXRUNTIME, then the loader
  // Path of libllama, or of one of the libggml-cpu-*.so beside it, which is then taken instead of
  // the best for this processor; empty: $PARLEY_LLAMA, then the loader.
  std::string llama;
  std::string device = "cpu";  // cpu, cuda or tensorrt
  // 0: one per core. All graphs share them, and bundles that are open at once too where they ask
  // for the same number; one that asks for another has threads of its own for each graph.
  int threads = 0;
  bool verify = true;      // hash every file; sizes are always checked
  std::string kv = "f16";  // keys and values of the backbone: f16, q8_0 or f32
  FlowSettings flow;       // instead of the bundle's
  RunHook on_run;          // for measurements: what the graphs of real conversations read
  // The backbone also adds up what its products read, for Bundle::importance(). CPU only; slower.
  bool importance = false;
};

enum class Mode : std::uint8_t { turns, duplex };
constexpr std::string_view name(Mode mode) {
  return mode == Mode::turns ? "turns" : "duplex";
}

// Called between the evaluations of the flow decoder that set a voice up, which take minutes on
// large models without a GPU; the first session of a voice does that. What it throws ends it.
using VoiceProgress = std::function<void(std::size_t done, std::size_t all)>;

struct SessionOptions {
  std::optional<Mode> mode;           // nothing: duplex where the bundle has it
  std::string voice;                  // empty: the bundle's default
  std::uint64_t seed = 0;             // of sampling and of the flow decoder's noise
  std::optional<std::string> system;  // the system prompt; nothing: the bundle's
  std::string tools;                  // JSON: a list of schemas, as the model knows them
  bool text_only = false;             // replies without sound, where the model can leave it out
  std::optional<float> temperature;   // nothing: the bundle's, for each of these
  std::optional<int> top_k;
  std::optional<float> top_p;
  std::optional<int> max_new_tokens;
  int prefill_budget = 0;  // positions of a turn's prompt per step; 0: all at once
  // A step's codes become sound on a second thread while the next step thinks: the same samples one
  // chunk later, which delay_samples() counts. In turns, a full segment of what the user says is
  // encoded on another one while the user goes on.
  bool overlap = false;
  VoiceProgress voice_progress;
  DrawHook on_draw;  // for measurements: what a model thinks of what another one said
};

// What one step gave. The events are valid until the session is called again.
struct Step {
  std::span<const Event> events;
  Timing timing;
  Floor floor = Floor::listening;
  std::int64_t index = 0;  // steps before this one
};

class Session {
 public:
  class Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // One chunk in (Bundle::chunk_samples()), one chunk out (Bundle::out_chunk_samples(), silence
  // where nothing is said). What step n writes is heard during chunk n + 1.
  // All effects happen at the end: when it throws, the session is as it was before.
  // Throws InputError (wrong size, NaN or infinity, a second caller, closed), ContextError (turn
  // longer than the context), CancelledError.
  Step step(std::span<const float> in, std::span<float> out);

  // The same from blocks of any size at any rate, as a microphone gives them: feed() takes them,
  // next() makes a step of each chunk that they fill, until it returns nothing.
  //
  //   session.feed(block, 48000);
  //   while (const auto step = session.next(out)) { loudspeaker.write(out); ... }
  //
  // Any way of cutting the same samples gives the same steps. `hz`: 0 for Bundle::input_hz(); other
  // rates go through a Resampler. Both throw as step() does; where a step fails, its samples wait
  // on. While samples wait, step(), fork() and save() throw InputError.
  void feed(std::span<const float> in, int hz = 0);
  std::optional<Step> next(std::span<float> out);
  // The stream of feed() ends: silence fills its last chunk.
  void flush();
  std::size_t waiting() const;  // samples, at input_hz, that next() has not taken

  // Turns: the user's turn ends here, behind all that was fed; the reply follows in the next steps.
  void end_turn();
  // Turns: what the user says, as text.
  void send_text(std::string_view text);
  // Turns: what a tool gave, `content` as the model is to read it. The next reply answers it, as
  // soon as the reply under way was heard. What the user has said meanwhile is kept for his turn.
  void send_result(std::string_view name, std::string_view content);
  // Any thread: stops the reply under way at the next step. In turns the history keeps what was
  // heard; in duplex the model reads a BREAK. A closed session has none to stop: no error.
  // `heard_until`: the sample of the output timeline that the loudspeaker has reached, where not
  // all that the steps wrote was heard; the session remembers where the last 256 chunks were.
  void interrupt(std::optional<std::int64_t> heard_until = std::nullopt);
  // Any thread: the step under way, or else the next one, throws CancelledError and changes
  // nothing.
  void cancel();
  // A second conversation that goes on from here; neither learns what the other does, and dropping
  // one costs the other nothing. Both draw on the same room in the context; each may belong to a
  // thread of its own. Throws ContextError where there are three forks already.
  Session fork();
  // Writes all that the conversation remembers to a file, whole or not at all: Bundle::resume()
  // goes on from it. Throws Error where the disk says no.
  void save(const std::string& path);
  // A new conversation with the same options.
  void reset();
  // Any thread: waits for a step under way (which is cancelled) and frees what the session holds.
  void close();

  Mode mode() const;
  Floor floor() const;
  std::int64_t position() const;  // backbone positions held
  // Constant, in output samples: from a drawn code to its sound.
  std::size_t delay_samples() const;
  // Constant, in input samples: of the front end; 0 in turns.
  std::size_t input_delay_samples() const;

 private:
  std::unique_ptr<Impl> impl_;
};

class Bundle {
 public:
  class Impl;
  explicit Bundle(std::shared_ptr<const Impl> impl);

  // Throws BundleError, LibraryError.
  static Bundle open(const std::string& folder, const OpenOptions& options);

  Session session(const SessionOptions& options) const;
  // A session that was saved, with the options that it had: the samples that follow are those that
  // would have followed there. Throws InputError for a file that is no whole saved session, or one
  // of another bundle, other settings or another build.
  Session resume(const std::string& path, const VoiceProgress& voice_progress = {}) const;
  // What a sound device is opened with, all constant. Input and output may differ in rate; a chunk
  // of each lasts as long. Sound is mono.
  int input_hz() const;
  int output_hz() const;
  std::size_t chunk_samples() const;      // of one step, in
  std::size_t out_chunk_samples() const;  // of one step, out
  std::vector<Mode> modes() const;
  std::vector<std::string> voices() const;
  const std::string& notice() const;  // licence notice of the weights, to be shown to the user

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace parley
