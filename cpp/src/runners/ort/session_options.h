// What a graph is opened with: threads, operators, device; knows no graph.
#pragma once
#include "runners/ort/library.h"
#include "runners/ort/ort.h"

namespace parley::ort {

// Of the options; 0 stands for as many as the machine has cores.
int threads_of(const GraphOptions& wanted);

// Throws LibraryError where the device cannot be had, InputError for an unknown one.
Handle<OrtSessionOptions> make_session_options(const Library& library,
                                               const Environment& environment,
                                               const GraphOptions& wanted);

}  // namespace parley::ort
