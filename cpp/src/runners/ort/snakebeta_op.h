// The operator parley.SnakeBeta, one form per provider; see kernels/snakebeta.
//
// Inputs x f32 [B, C, T], alpha and beta f32 [C], range i64 [2]; attributes left and right; output
// f32 [B, C, T - left - right]: parley_snakebeta_window says what they mean.
#pragma once
#include <vector>

#include "runners/ort/custom_op.h"

namespace parley::ort {

// Live as long as the process.
std::vector<const OrtCustomOp*> snakebeta_ops();

}  // namespace parley::ort
