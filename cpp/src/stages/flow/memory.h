// What evaluations of the flow's field recall: nothing, a voice prompt, a stream's past; no codes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "stages/flow/graphs.h"

namespace parley {

using FlowPlan = std::vector<FlowEvaluation>;

// Nothing: all frames are computed together. For whole utterances, windows, and voice prompts.
class NoMemory : public FlowMemory {
 public:
  NoMemory(const FieldSizes& sizes, const FlowPlan& plan, std::size_t max_frames);
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
    std::vector<std::byte> keys;    // [layers, B, heads, P, head_width], rotated
    std::vector<std::byte> values;  // [layers, B, heads, head_width, P]
    std::vector<float> rows;        // [B, carried, hidden]: the prompt's last ones
  };
  std::size_t frames = 0;  // P
  std::vector<Evaluation> evaluations;

  static std::size_t bytes(const FieldSizes& sizes, const FlowPlan& plan, std::size_t frames);
};

// Fills a cache while the prompt is solved.
class PromptMemory final : public NoMemory {
 public:
  PromptMemory(const FieldSizes& sizes, const FlowPlan& plan, std::size_t frames,
               PromptCache& cache, const SetupProgress& progress);
  const FieldMemory& recall(std::size_t evaluation, std::size_t frames) override;
  void keep(std::size_t evaluation) override;

 private:
  void stand_up(std::size_t evaluation);

  PromptCache& cache_;
  const SetupProgress& progress_;
  std::vector<float> rows_;        // [B, P, hidden]
  std::vector<std::byte> values_;  // [layers, B, heads, P, head_width]
};

// A voice prompt and a bounded past of the reply. Frame f of a reply always lies in slot
// f mod capacity, so sums have one order however a reply was cut. The rings hold `slack_frames`
// more than is seen, so that writes between two commits seldom touch what a rollback needs; where
// they would, all of it is saved first.
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
  void begin(bool clean);
  // `alive`: the reply of which `done` frames are kept may go on.
  void commit(std::int64_t done, bool alive);
  void rollback();

 private:
  struct Rings {
    std::vector<std::byte>
        cache;  // per evaluation [layers, 2 (keys, values), B, heads, capacity, width]
    std::vector<float> rows;  // per evaluation [B, carried + slack, hidden]
  };
  std::byte* ring(std::size_t evaluation, std::size_t layer, std::size_t part);
  float* rows_of(std::size_t evaluation, std::size_t branch);
  void gather_carried(std::size_t evaluation);

  FieldSizes sizes_;
  const FlowPlan& plan_;
  std::shared_ptr<const PromptCache> prompt_;
  Frames frames_;
  std::size_t capacity_ = 0;         // frames of a ring of keys or values
  std::size_t row_capacity_ = 0;     // frames of a ring of rows
  std::vector<std::size_t> before_;  // per evaluation: branches of those before it
  Rings rings_;
  Rings saved_;
  bool is_saved_ = false;
  bool same_reply_ = true;  // as that of the last commit
  bool committed_alive_ = false;
  std::int64_t committed_ = 0;  // frames
  std::int64_t done_ = 0;
  std::size_t own_ = 0;

  FieldMemory memory_;
  std::vector<std::int64_t> positions_;         // [most]
  std::vector<std::int64_t> prompt_positions_;  // [most]
  std::vector<float> mask_;                     // [capacity + most]
  std::vector<float> carried_;                  // [2, carried, hidden]
  std::vector<float> new_rows_;                 // [2, most, hidden]
  std::vector<std::byte> new_cache_;            // [layers, 2, B, heads, most, width]
};

}  // namespace parley
