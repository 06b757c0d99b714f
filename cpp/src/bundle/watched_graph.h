// A graph that shows somebody what it is about to read; knows no stage.
#pragma once
#include <memory>
#include <string>

#include "parley/parley.hpp"
#include "runners/runner.h"

namespace parley {

std::shared_ptr<const GraphRunner> watched(std::string name,
                                           std::shared_ptr<const GraphRunner> graph,
                                           RunHook on_run);

}  // namespace parley
