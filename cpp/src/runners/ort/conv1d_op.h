// The operator parley.Conv1d for ONNX Runtime's CPU provider; see kernels/conv1d.
//
// Inputs x f32 [1, in, T], weight bf16 [out, in, taps] (a constant), bias f32 [out]; attribute
// dilation; output f32 [1, out, T - dilation (taps - 1)].
#pragma once
#include "runners/ort/custom_op.h"

namespace parley::ort {

// Lives as long as the process.
const OrtCustomOp* conv1d_op();

}  // namespace parley::ort
