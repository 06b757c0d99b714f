// A graph of one node that is opened and run to see what an ONNX Runtime can do; knows no model.
#pragma once
#include "runners/ort/library.h"

namespace parley::ort {

// Whether the environment has a pool that sessions may share: a program that made it before us may
// have made it without.
bool has_shared_pool(const Library& library, const OrtEnv* env);

}  // namespace parley::ort
