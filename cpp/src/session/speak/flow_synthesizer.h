// A flow decoder and a vocoder, one behind the other.
#pragma once
#include <memory>
#include <vector>

#include "base/clock.h"
#include "session/speak/synthesizer.h"
#include "stages/flow_decoder.h"
#include "stages/vocoder.h"

namespace parley {

class FlowSynthesizer final : public Synthesizer {
 public:
  struct Parts {
    std::shared_ptr<const FlowDecoder> flow;
    std::shared_ptr<const Vocoder> vocoder;
    std::shared_ptr<const Clock> clock;
    std::size_t max_codes = 8;  // of one push
  };
  // The first one of a voice sets the voice up, which `progress` is told of.
  FlowSynthesizer(Parts parts, std::shared_ptr<const Voice> voice, const SetupProgress& progress);

  std::size_t samples_per_code() const override;
  std::size_t lead() const override;
  std::size_t delay() const override;
  std::size_t max_samples(std::size_t n_codes) const override;
  void begin_reply(std::uint64_t seed, std::uint32_t reply) override;
  std::size_t push(std::span<const std::int32_t> codes, bool last, std::span<float> samples,
                   Timing& timing, const StopFlag& stop) override;
  void commit() override;
  void rollback() override;
  void reset() override;
  std::unique_ptr<Synthesizer> fork() const override;
  void save(ByteWriter& to) const override;
  void load(ByteReader& from) override;

 private:
  Parts parts_;
  std::shared_ptr<const Voice> voice_;
  std::size_t tail_;  // latent frames of the voice that a reply begins with
  StatePtr flow_state_;
  StatePtr vocoder_state_;
  std::vector<float> latents_;  // scratch of one push
};

}  // namespace parley
