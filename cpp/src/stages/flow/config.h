// How the flow decoder works: its settings, as a bundle lays them down; knows no graph.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "parley/flow_settings.hpp"
#include "stages/flow/solver.h"
#include "stages/flow_decoder.h"

namespace parley {

struct FlowConfig : FlowShape {
  FlowMode mode = FlowMode::window;
  FlowSteps steps;
  std::size_t hidden = 64;         // width of a token feature
  std::size_t prompt_codes = 0;    // of the voice, its last ones; 0: all
  std::size_t past_codes = 16;     // of the reply
  bool free_condition = true;      // whether what runs without guidance sees the condition
  std::int32_t n_codes = 0;        // in the codebook; 0: not checked here
  std::vector<float> latent_mean;  // [z]
  std::vector<float> latent_var;   // [z]
  // [n, z] from a voice's first frame on, in place of noise that is drawn: another system's.
  std::vector<float> noise;
};

// Throws BundleError that names the first setting which is out of range.
void check_flow_config(const FlowConfig& config);

}  // namespace parley
