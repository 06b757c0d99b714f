// What evaluations of the flow's field recall: nothing, a voice prompt, a stream's past; no codes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "runners/graph_state.h"
#include "stages/flow/graphs.h"

namespace parley {

using FlowPlan = std::vector<FlowEvaluation>;

// Nothing: all frames are computed together. For whole utterances, windows, and voice prompts.
class WholeRun : public FlowMemory {
 public:
  WholeRun(const FieldSizes& sizes, const FlowPlan& plan, std::size_t max_frames);
  const FieldMemory& recall(std::size_t evaluation, std::size_t frames) override;
  void keep(std::size_t) override {}

 protected:
  FieldSizes sizes_;
  const FlowPlan& plan_;
  FieldMemory memory_;

 private:
  std::vector<std::int64_t> positions_;
  std::vector<float> zeros_;
};

// Keys and values of a voice's prompt, per evaluation and branch. Const once it is filled.
struct PromptCache {
  struct Evaluation {
    Memory keys;    // [layers, B, heads, P, head_width], rotated
    Memory values;  // [layers, B, heads, head_width, P]
    Memory rows;    // f32 [B, carried, carried_width]: the prompt's last ones
  };
  std::size_t frames = 0;  // P
  std::vector<Evaluation> evaluations;

  static std::size_t bytes(const FieldSizes& sizes, const FlowPlan& plan, std::size_t frames);
};

// Fills a cache while the prompt is solved.
class PromptMemory final : public WholeRun {
 public:
  PromptMemory(const FieldSizes& sizes, const FlowPlan& plan, std::size_t frames,
               PromptCache& cache, const SetupProgress& progress);
  const FieldMemory& recall(std::size_t evaluation, std::size_t frames) override;
  void keep(std::size_t evaluation) override;

 private:
  void transpose_values(std::size_t evaluation);

  PromptCache& cache_;
  const SetupProgress& progress_;
  Memory rows_;    // f32 [B, rows_of(P), carried_width]
  Memory values_;  // [layers, B, heads, P, head_width]
};

// A voice prompt and a bounded past of the reply, whose frames are rows of rings.
class StreamMemory final : public FlowMemory {
 public:
  struct Frames {
    std::size_t past = 0;   // that own frames see
    std::size_t slack = 0;  // written between two commits without saving
    std::size_t most = 0;   // evaluated at a time: own ones and look-ahead
  };
  StreamMemory(const FieldSizes& sizes, const FlowPlan& plan,
               std::shared_ptr<const PromptCache> prompt, Frames frames);

  static std::size_t bytes(const FieldSizes& sizes, const FlowPlan& plan, Frames frames);

  // Where the next solve stands: `done` frames of the reply are kept, of the evaluated ones the
  // first `own` will be.
  void place(std::int64_t done, std::size_t own);
  const FieldMemory& recall(std::size_t evaluation, std::size_t frames) override;
  void keep(std::size_t evaluation) override;

  // A reply begins; values that are not numbers must not reach it from the one before.
  void begin(bool clean) { rings_.begin(clean); }
  // `alive`: the reply of which `done` frames are kept may go on.
  void commit(std::int64_t done, bool alive) { rings_.commit(done, alive); }
  void rollback() { rings_.rollback(); }
  void save(ByteWriter& to) const { rings_.save(to); }
  void load(ByteReader& from) { rings_.load(from); }

 private:
  // Two rings per evaluation: [layers, 2 (keys, values), B, heads] blocks of keys and values, and
  // [B] blocks of rows.
  static std::vector<RowRings::Ring> rings_of(const FieldSizes& sizes, const FlowPlan& plan,
                                              std::size_t past);
  static std::size_t cache_ring(std::size_t evaluation) { return 2 * evaluation; }
  static std::size_t row_ring(std::size_t evaluation) { return 2 * evaluation + 1; }
  void gather_carried(std::size_t evaluation);

  FieldSizes sizes_;
  const FlowPlan& plan_;
  std::shared_ptr<const PromptCache> prompt_;
  Frames frames_;
  RowRings rings_;
  std::size_t capacity_ = 0;  // frames of a ring of keys or values
  std::int64_t done_ = 0;
  std::size_t own_ = 0;

  FieldMemory memory_;
  std::vector<std::int64_t> positions_;         // [most]
  std::vector<std::int64_t> prompt_positions_;  // [most]
  std::vector<float> mask_;                     // [capacity + most]
  Memory carried_;                              // f32 [2, carried, carried_width]
  Memory new_rows_;                             // f32 [2, rows_of(most), carried_width]
  Memory new_cache_;                            // [layers, 2, B, heads, most, width]
};

}  // namespace parley
