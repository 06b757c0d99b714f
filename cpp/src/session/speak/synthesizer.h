// From a reply's codes to its samples; knows no queue, no loudspeaker and no text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/stop.h"
#include "parley/events.hpp"

namespace parley {

// Work is provisional until commit(). Allocates nothing after construction.
class Synthesizer {
 public:
  virtual ~Synthesizer() = default;
  virtual std::size_t samples_per_code() const = 0;
  // All look-ahead, in samples: so much silence comes before a reply's sound.
  virtual std::size_t lead() const = 0;
  // From a code to its sound, in samples: the lead and what is heard before the first code's.
  virtual std::size_t delay() const = 0;
  // The most that one push of so many codes gives.
  virtual std::size_t max_samples(std::size_t n_codes) const = 0;

  // Another reply: whatever is random in it is a function of (seed, reply).
  virtual void begin_reply(std::uint64_t seed, std::uint32_t reply) = 0;
  // Adds codes; `last` says that none follow. Writes the samples that became final and returns how
  // many; they may not be finite.
  virtual std::size_t push(std::span<const std::int32_t> codes, bool last, std::span<float> samples,
                           Timing& timing, const StopFlag& stop) = 0;
  virtual void commit() = 0;
  virtual void rollback() = 0;
  virtual void reset() = 0;

  // Between steps. A second synthesizer that goes on from here; neither learns what the other does,
  // and each may belong to a thread of its own.
  virtual std::unique_ptr<Synthesizer> fork() const = 0;
  // What fork() copies, as bytes; and of what a synthesizer made with the same options saved.
  // load() throws InputError for other bytes, and leaves one to be reset().
  virtual void save(ByteWriter& to) const = 0;
  virtual void load(ByteReader& from) = 0;
};

}  // namespace parley
