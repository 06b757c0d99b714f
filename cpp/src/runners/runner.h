// What executes a graph or a token model: the only face of a vendor library; no speech here.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/stop.h"
#include "base/tensor.h"

namespace parley {

// One graph with its weights. Const and thread-safe: sessions share it.
class GraphRunner {
 public:
  virtual ~GraphRunner() = default;
  virtual const std::vector<TensorSpec>& inputs() const = 0;
  virtual const std::vector<TensorSpec>& outputs() const = 0;
  // Runs once. `inputs[i]` and `outputs[i]` follow inputs() and outputs(); outputs are written in
  // place and must have the graph's shape; an output whose data is null is not fetched. Throws
  // InputError where a count, type or shape differs, CancelledError where `stop` was set in time.
  virtual void run(std::span<const TensorView> inputs, std::span<const TensorView> outputs,
                   const StopFlag& stop) const = 0;
};

struct TokenRunnerOptions {
  std::int32_t n_cells = 8192;  // KV cells; positions may grow beyond, occupied cells may not
  std::int32_t n_batch = 512;   // positions per pass of a long prefill
  int threads = 0;              // 0: as many as the machine has cores
  bool kv_q8_0 = false;         // 8-bit keys and values (needs heads that are a multiple of 32)
  bool kv_bf16 = false;         // the range of f32 with the precision of 8 bits
  bool kv_f32 = false;          // exact keys and values, for verification
};

// One sequence in a KV cache. Not thread-safe: it belongs to one session.
class TokenRunner {
 public:
  virtual ~TokenRunner() = default;
  // Appends rows `[n, width]` at positions position, position + 1, ... Logits of the last row are
  // kept where `want_logits`. Polls `stop` between passes of n_batch.
  virtual void feed(std::span<const float> rows, std::int64_t position, bool want_logits,
                    const StopFlag& stop) = 0;
  // `[vocab_size]`, valid until the next feed.
  virtual std::span<const float> logits() const = 0;
  // Forgets every position in [begin, end); the others stay where they are. end < 0: to the end.
  virtual void erase(std::int64_t begin, std::int64_t end) = 0;
  // Moves the positions in [begin, end) by `by` (negative: towards the start). end < 0: to the end.
  virtual void shift(std::int64_t begin, std::int64_t end, std::int64_t by) = 0;
  // All that is held, as bytes; and instead of what is held, what a runner of the same model and
  // options saved. Both may change what logits() gives. load() throws InputError for other bytes,
  // and holds nothing then.
  virtual void save(ByteWriter& to) = 0;
  virtual void load(ByteReader& from) = 0;
  // A second sequence that goes on from here, over the same cells: what both hold takes no more
  // memory, and both draw on the same n_cells. Each may belong to a thread of its own; they take
  // turns. May change what logits() gives. Throws ContextError where there are too many.
  virtual std::unique_ptr<TokenRunner> fork() = 0;
  virtual bool is_shared() const = 0;  // with a fork; shift() throws then
};

// What the columns of a weight are multiplied with: the mean of its squares, column by column.
struct Importance {
  std::string weight;
  std::vector<float> columns;
};

// The weights and the tokenizer. Const and thread-safe: sessions share it.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  virtual std::int32_t vocab_size() const = 0;
  virtual std::int32_t width() const = 0;
  virtual std::unique_ptr<TokenRunner> create(const TokenRunnerOptions& options) const = 0;
  // Embedding rows `[ids.size(), width]`. Throws InputError for an id outside the vocabulary.
  virtual void embed(std::span<const std::int32_t> ids, std::span<float> rows) const = 0;
  // `special`: whether names such as <|im_end|> become their control ids or stay plain text.
  virtual std::vector<std::int32_t> tokenize(std::string_view text, bool special) const = 0;
  // The bytes of a token (they may be part of a character); returns how many it has, 0 for control
  // ids. Where `bytes` has no room for them, nothing is written.
  virtual std::size_t piece(std::int32_t id, std::span<char> bytes) const = 0;
  // Of all that its runners read, where the model was opened for that; else empty.
  virtual std::vector<Importance> importance() const { return {}; }
};

}  // namespace parley
