// A reply's way from codes to sound: flow decoder, vocoder, playback queue; knows no backbone.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/stop.h"
#include "parley/events.h"
#include "stages/flow_decoder.h"
#include "stages/vocoder.h"

namespace parley {

// Sound of one reply at a time. run() is provisional; commit() queues what it made and plays one
// chunk of it. Allocates nothing after construction.
class Speech {
 public:
  struct Parts {
    std::shared_ptr<const FlowDecoder> flow;
    std::shared_ptr<const Vocoder> vocoder;
    std::shared_ptr<const Voice> voice;
    std::shared_ptr<const Clock> clock;
    std::size_t chunk_samples = 3840;
    std::size_t fade_samples = 480;
    std::size_t max_codes_per_step = 8;
    SetupProgress voice_progress;
  };
  struct Played {
    std::size_t samples = 0;  // of the reply, its lead of silence included
    std::size_t muted = 0;    // samples that were not finite and came out as silence
  };

  // What a step's draws mean for the sound. A value, so that it can wait for its turn.
  struct Job {
    bool begins = false;    // a reply
    bool last = false;      // no codes follow
    bool drops = false;     // the reply stops and its sound fades out
    bool sounding = false;  // a reply is to be heard, so silence would be an underrun
    std::uint64_t seed = 0;
    std::uint32_t reply = 0;
    std::size_t n_codes = 0;
    std::array<std::int32_t, Event::kMaxCodes> codes{};
    bool empty() const { return !begins && !last && !drops && n_codes == 0; }
  };

  explicit Speech(Parts parts);

  // From a code to its sound, in samples: the look-ahead of both stages and the voice's tail.
  std::size_t delay() const { return delay_; }

  // At most once between two commits.
  void run(const Job& job, Timing& timing, const StopFlag& stop);

  // Ends a step: fills `out` from the queue, silence behind it.
  Played commit(std::span<float> out);
  void rollback();
  void reset();

  std::size_t queued() const { return size_; }  // samples not yet played
  bool finished() const { return finished_; }   // the last codes were pushed and committed
  // Whole codes of this reply that were heard, and that will be once `upcoming` samples more were.
  std::size_t played_codes(std::size_t upcoming) const;

 private:
  void begin(std::uint64_t seed, std::uint32_t reply);
  void push(std::span<const std::int32_t> codes, bool last, Timing& timing, const StopFlag& stop);
  // At the next commit the sound fades out, the look-ahead included, and is dropped.
  void drop(Timing& timing, const StopFlag& stop);
  void enqueue(float sample);
  float dequeue();

  Parts parts_;
  std::size_t samples_per_code_ = 0;
  std::size_t samples_per_latent_ = 0;
  std::size_t lead_ = 0;  // of silence, before a reply's sound
  std::size_t delay_ = 0;
  StatePtr flow_state_;
  StatePtr vocoder_state_;
  std::vector<float> latents_;  // scratch of one push
  std::vector<float> staged_;   // samples made since the last commit
  std::size_t n_staged_ = 0;
  std::size_t muted_ = 0;
  bool began_ = false;
  bool ended_ = false;
  bool drop_ = false;
  bool finished_ = true;      // no reply is under way
  std::vector<float> queue_;  // ring
  std::size_t head_ = 0;
  std::size_t size_ = 0;
  float last_sample_ = 0.0F;        // played last
  std::int64_t reply_samples_ = 0;  // played of this reply, its lead included
};

}  // namespace parley
