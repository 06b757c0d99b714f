// Names of graphs and graph tensors as the exporter writes them; generated, do not edit.
// python -m parley_export.contract > cpp/src/stages/contract.h
#pragma once

namespace parley::contract {

inline constexpr char kStateIn[] = "state_in.";
inline constexpr char kStateOut[] = "state_out.";

namespace encoder_segment {
inline constexpr char kGraph[] = "encoder_segment";
// f32 [1, n_mels, MEL_FRAMES]
inline constexpr char kLogMel[] = "log_mel";
// f32 [1, FRAMES, encoder_width]
inline constexpr char kEncoded[] = "encoded";
// f32 [1, FEATURES, width]
inline constexpr char kFeatures[] = "features";
}  // namespace encoder_segment

namespace encoder_chunk {
inline constexpr char kGraph[] = "encoder_chunk";
// f32 [1, n_mels, chunk_mel_frames]
inline constexpr char kLogMel[] = "log_mel";
// f32 [1, chunk_features, width]
inline constexpr char kFeatures[] = "features";
// f32 [1, n_mels, 2]
inline constexpr char kConv1[] = "conv1";
// f32 [1, encoder_width, 1]
inline constexpr char kConv2[] = "conv2";
// f32 [layers, heads, left_context, head_width]
inline constexpr char kKeys[] = "keys";
// f32 [layers, heads, left_context, head_width]
inline constexpr char kValues[] = "values";
// i64 [1]
inline constexpr char kFilled[] = "filled";
// i64 [1]
inline constexpr char kPosition[] = "position";
// f32 [adapter_stages, 1, encoder_width]
inline constexpr char kAdapter[] = "adapter";
}  // namespace encoder_chunk

namespace head_slots {
inline constexpr char kGraph[] = "head_slots";
// f32 [N, width]
inline constexpr char kHidden[] = "hidden";
// f32 [N, width]
inline constexpr char kText[] = "text";
// f32 [SLOTS, head_width]
inline constexpr char kSlots[] = "slots";
}  // namespace head_slots

namespace head_input {
inline constexpr char kGraph[] = "head_input";
// f32 [1, width]
inline constexpr char kText[] = "text";
// i64 [group]
inline constexpr char kCodes[] = "codes";
// f32 [1, width]
inline constexpr char kRow[] = "row";
}  // namespace head_input

namespace flow_condition {
inline constexpr char kGraph[] = "flow_condition";
// i64 [1, N]
inline constexpr char kCodes[] = "codes";
// f32 [1, FRAMES, hidden]
inline constexpr char kTokenFeatures[] = "token_features";
}  // namespace flow_condition

namespace flow_encoder {
inline constexpr char kGraph[] = "flow_encoder";
// i64 [1, N]
inline constexpr char kCodes[] = "codes";
// f32 [1, speaker_width]
inline constexpr char kSpeaker[] = "speaker";
// f32 [1, FRAMES, hidden]
inline constexpr char kTokenFeatures[] = "token_features";
// f32 [1, width, lookahead_rows]
inline constexpr char kLookahead[] = "lookahead";
// f32 [1, width, upsampled_rows]
inline constexpr char kUpsampled[] = "upsampled";
// f32 [blocks, heads, past, head_width]
inline constexpr char kKeys[] = "keys";
// f32 [blocks, heads, past, head_width]
inline constexpr char kValues[] = "values";
// f32 [up_blocks, heads, up_past, head_width]
inline constexpr char kUpKeys[] = "up_keys";
// f32 [up_blocks, heads, up_past, head_width]
inline constexpr char kUpValues[] = "up_values";
// i64 [1]
inline constexpr char kFilled[] = "filled";
}  // namespace flow_encoder

namespace flow_modulation {
inline constexpr char kGraph[] = "flow_modulation";
// f32 [K]
inline constexpr char kT[] = "t";
// f32 [1, speaker_width]
inline constexpr char kSpeaker[] = "speaker";
// f32 [K, modulation_width]
inline constexpr char kModulation[] = "modulation";
}  // namespace flow_modulation

namespace flow_field {
inline constexpr char kGraph[] = "flow_field";
// f32 [B, T, field_width]
inline constexpr char kInputs[] = "inputs";
// f32 [1, modulation_width]
inline constexpr char kModulation[] = "modulation";
// i64 [T]
inline constexpr char kPositions[] = "positions";
// i64 [T]
inline constexpr char kPromptPositions[] = "prompt_positions";
// f32 [ROWS]
inline constexpr char kMask[] = "mask";
// f32 [B, carried_frames, carried_width]
inline constexpr char kCarried[] = "carried";
// cache [B, heads, PROMPT, head_width]
inline constexpr char kPromptKeys[] = "prompt_keys.";
// cache [B, heads, head_width, PROMPT]
inline constexpr char kPromptValues[] = "prompt_values.";
// cache [B, heads, PAST, head_width]
inline constexpr char kPastKeys[] = "past_keys.";
// cache [B, heads, PAST, head_width]
inline constexpr char kPastValues[] = "past_values.";
// f32 [B, T, z]
inline constexpr char kVelocity[] = "velocity";
// f32 [B, ROWS_LEFT, carried_width]
inline constexpr char kRows[] = "rows";
// cache [B, heads, T, head_width]
inline constexpr char kKeys[] = "keys.";
// cache [B, heads, T, head_width]
inline constexpr char kValues[] = "values.";
}  // namespace flow_field

namespace vocoder {
inline constexpr char kGraph[] = "vocoder";
// f32 [1, z, T]
inline constexpr char kLatents[] = "latents";
// i64 [2]
inline constexpr char kRange[] = "range";
// i64 [1]
inline constexpr char kKept[] = "kept";
// f32 [1, 1, SAMPLES]
inline constexpr char kWave[] = "wave";
// f32 [history]
inline constexpr char kHistory[] = "history";
}  // namespace vocoder

namespace vocoder_with_noise {
inline constexpr char kGraph[] = "vocoder_with_noise";
// f32 [1, z, T]
inline constexpr char kLatents[] = "latents";
// f32 [1, 1, SAMPLES]
inline constexpr char kNoise[] = "noise";
// i64 [2]
inline constexpr char kRange[] = "range";
// i64 [1]
inline constexpr char kKept[] = "kept";
// f32 [1, 1, SAMPLES]
inline constexpr char kWave[] = "wave";
// f32 [history]
inline constexpr char kHistory[] = "history";
}  // namespace vocoder_with_noise

}  // namespace parley::contract
