// A reply's sound: synthesizer, playback queue, and what was played; knows no mind.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "session/speak/synthesizer.h"

namespace parley {

// Sound of one reply at a time. run() is provisional; commit() queues what it made and plays one
// chunk of it. Allocates nothing after construction.
class Speech {
 public:
  struct Shape {
    std::size_t chunk_samples = 3840;
    std::size_t fade_samples = 480;
    std::size_t max_codes_per_step = 8;
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
    std::vector<std::int32_t> codes;
    bool empty() const { return !begins && !last && !drops && codes.empty(); }
    void clear() {
      begins = last = drops = sounding = false;
      codes.clear();
    }
  };

  Speech(std::unique_ptr<Synthesizer> synthesizer, Shape shape);
  Speech(const Speech& other);  // with what was committed: a fork
  Speech(Speech&&) noexcept = default;

  std::size_t delay() const { return synthesizer_->delay(); }

  // At most once between two commits.
  void run(const Job& job, Timing& timing, const StopFlag& stop);

  // Ends a step: fills `out` from the queue, silence behind it.
  Played commit(std::span<float> out);
  void rollback();
  void reset();

  std::size_t queued() const { return size_; }              // samples not yet played
  std::int64_t chunks() const { return progress_.chunks; }  // played so far
  bool finished() const { return progress_.finished; }  // the last codes were pushed and committed
  // Whole codes of this reply that were heard, and that will be once `upcoming` samples more were.
  std::size_t played_codes(std::size_t upcoming) const;
  // The same at a place on the output timeline, the first sample ever played being 0. Remembers
  // the last kRemembered chunks.
  std::size_t played_codes_at(std::int64_t sample) const;
  static constexpr std::size_t kRemembered = 256;

  void save(ByteWriter& to) const;
  void load(ByteReader& from);

 private:
  struct Progress {
    bool finished = true;            // no reply is under way
    float last_sample = 0.0F;        // played last
    std::int64_t reply_samples = 0;  // played of this reply, its lead included
    std::int64_t chunks = 0;         // played so far
    std::int64_t first_chunk = 0;    // of this reply
  };
  // Of a chunk: what was played of its reply before it, and in it.
  struct PlayedChunk {
    std::int64_t before = 0;
    std::int64_t samples = 0;
  };

  void push(std::span<const std::int32_t> codes, bool last, Timing& timing, const StopFlag& stop);
  // At the next commit the sound fades out, the look-ahead included, and is dropped.
  void drop(Timing& timing, const StopFlag& stop);
  void fade_out(std::span<float> out);
  void enqueue(float sample);
  float dequeue();
  std::size_t codes_in(std::int64_t reply_samples) const;

  std::unique_ptr<Synthesizer> synthesizer_;
  Shape shape_;
  std::vector<float> staged_;  // samples made since the last commit
  std::size_t n_staged_ = 0;
  std::size_t muted_ = 0;
  bool began_ = false;
  bool ended_ = false;
  bool drop_ = false;
  Progress progress_;
  std::vector<float> queue_;  // ring
  std::size_t head_ = 0;
  std::size_t size_ = 0;
  std::array<PlayedChunk, kRemembered> history_{};  // ring by the chunk's number
};

}  // namespace parley
