// What settings of the flow decoder must keep to; knows no graph.
#include "stages/flow/config.h"

#include <string>

namespace parley {

void check_flow_config(const FlowConfig& config) {
  const auto refuse = [](const std::string& expected, const std::string& got) {
    throw BundleError("[flow_decoder.create] expected " + expected + ", got " + got +
                      "; correct the manifest's flow section");
  };
  if (config.steps.points < 2)
    refuse("at least 2 time points", std::to_string(config.steps.points));
  if (config.z == 0 || config.hidden == 0 || config.frames_per_code == 0 ||
      config.codes_per_chunk == 0) {
    refuse("z, hidden, frames_per_code and codes_per_chunk above 0", "a zero");
  }
  if (config.latent_mean.size() != config.z || config.latent_var.size() != config.z) {
    refuse(std::to_string(config.z) + " latent means and variances",
           std::to_string(config.latent_mean.size()) + " and " +
               std::to_string(config.latent_var.size()));
  }
  for (float variance : config.latent_var) {
    if (!(variance >= 0.0F)) {
      refuse("latent variances of at least 0", std::to_string(variance));
    }
  }
}

}  // namespace parley
