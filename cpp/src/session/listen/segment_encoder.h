// Segments of a turn become features, at once or on a thread beside the steps; knows no turn.
#pragma once
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "audio/front_end.h"
#include "audio/log_mel.h"
#include "base/clock.h"
#include "base/stop.h"
#include "parley/events.hpp"
#include "session/worker.h"
#include "stages/encoder.h"

namespace parley {

class SegmentEncoder {
 public:
  // `beside`: begin() has a thread.
  SegmentEncoder(std::shared_ptr<const Encoder> encoder, std::shared_ptr<const Clock> clock,
                 const FrontEndConfig& config, bool beside);

  std::size_t mel_frames() const { return log_mel_.n_frames(); }  // of a whole segment
  // Up to a segment of samples at the input rate, of which at most `most_mel_frames` are encoded ->
  // rows of features that count [n, width], valid until the next call.
  std::span<const float> encode(std::span<const float> samples, std::size_t most_mel_frames,
                                Timing& timing, const StopFlag& stop);

  bool has_thread() const { return thread_.has_value(); }
  // A whole segment, beside what its owner does next. Throws nothing.
  void begin(std::span<const float> samples);
  // The rows of that segment as soon as they are there, as often as wanted until the next begin().
  // `timing` gets the wait.
  std::span<const float> finish(Timing& timing, const StopFlag& stop);

 private:
  struct Work {
    std::vector<float> log_mel;  // [n_mels, mel frames]
    std::vector<float> rows;     // [features, width]
  };
  Work make_work() const;
  std::span<const float> run(Work& work, std::span<const float> samples,
                             std::size_t most_mel_frames, Timing& timing,
                             const StopFlag& stop) const;
  void settle();

  std::shared_ptr<const Encoder> encoder_;
  std::shared_ptr<const Clock> clock_;
  FrontEndConfig config_;
  SegmentLogMel log_mel_;
  Work own_;
  Work begun_;
  std::span<const float> begun_rows_;  // of begun_, that count
  std::vector<float> begun_samples_;
  bool finished_ = true;          // the segment begun last
  Timing thread_timing_;          // of the thread
  StopFlag never_;                // a graph cannot be stopped halfway
  std::optional<Worker> thread_;  // last: its task uses the others
};

}  // namespace parley
