// What both listeners are made of.
#pragma once
#include <cstddef>
#include <memory>

#include "audio/front_end.h"
#include "base/clock.h"
#include "runners/runner.h"
#include "stages/encoder.h"

namespace parley {

struct ListenerParts {
  std::shared_ptr<const Encoder> encoder;
  std::shared_ptr<const TokenModel> tokens;
  std::shared_ptr<const Clock> clock;
  FrontEndConfig front_end;
  std::size_t chunk_samples = 3840;  // at the input rate
  bool thread = false;               // turns: full segments are encoded on one of their own
};

}  // namespace parley
