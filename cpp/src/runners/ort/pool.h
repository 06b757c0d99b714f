// How ONNX Runtime's threads are made: named, and never spinning; knows no graph.
#pragma once
#include "runners/ort/library.h"

namespace parley::ort {

// What makes an environment with a pool of `threads` for all graphs. Throws LibraryError.
Handle<OrtThreadingOptions> shared_pool(const Library& library, int threads);

// Gives a session `threads`: the shared pool's where it has as many, else a pool of its own.
void set_threads(const Library& library, const Environment& environment, int threads,
                 OrtSessionOptions* options);

}  // namespace parley::ort
