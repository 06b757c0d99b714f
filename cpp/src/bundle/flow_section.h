// The manifest's section "flow", and what a caller may put in its place; reads no file.
#pragma once
#include <string>

#include "base/json_fields.h"
#include "parley/flow_settings.hpp"
#include "stages/flow/config.h"

namespace parley {

// Two structs that the section fills.
struct FlowSection {
  FlowConfig& config;
  int& codes_hz;
};

void visit(json::Fields& f, FlowSection& section);

// Puts settings into a manifest's document.
void put_flow_settings(json::Value& document, const FlowSettings& settings);

// The settings in use, to compare two with.
std::string flow_settings_text(const FlowConfig& config);

// Tells a caller what is wrong with a setting.
[[noreturn]] void refuse_flow(const std::string& expected, const std::string& got,
                              const std::string& fix);

}  // namespace parley
