// A small, valid manifest as text, for tests that change it; its files need not exist.
#pragma once
#include <stdexcept>
#include <string>

namespace manifest_parts {

inline std::string hash() {
  return std::string(64, 'a');
}

inline std::string files() {
  const auto file = [](const std::string& name, int bytes) {
    return "\"" + name + "\": {\"bytes\": " + std::to_string(bytes) + ", \"sha256\": \"" + hash() +
           "\"}";
  };
  return file("backbone.gguf", 1000) + ", " + file("encoder_segment.onnx", 10) + ", " +
         file("encoder_chunk.onnx", 10) + ", " + file("flow_condition.onnx", 10) + ", " +
         file("flow_modulation.onnx", 10) + ", " + file("flow_field.onnx", 10) + ", " +
         file("vocoder.onnx", 10) + ", " + file("weights.data", 10) + ", " +
         file("v/tokens.i32", 20) + ", " + file("v/latents.f32", 252) + ", " +
         file("v/speaker.f32", 12);
}

inline std::string graphs() {
  const auto graph = [](const std::string& name, const std::string& rest) {
    return "\"" + name + "\": {\"file\": \"" + name +
           ".onnx\", \"external\": [], \"precision\": \"f32\", \"opset\": 20, " + rest + "}";
  };
  const std::string plain =
      R"("inputs": [{"name": "x", "type": "f32", "shape": [1, -1]}],
    "outputs": [{"name": "y", "type": "f32", "shape": [1, -1]}])";
  const std::string chunk =
      R"("inputs": [{"name": "log_mel", "type": "f32", "shape": [1, 20, 16]}],
    "outputs": [{"name": "features", "type": "f32", "shape": [1, 1, 24]}],
    "states": [{"name": "filled", "type": "i64", "shape": [1], "initial": 0.0}])";
  return graph("encoder_segment", plain) + ",\n  " + graph("encoder_chunk", chunk) + ",\n  " +
         graph("flow_condition", plain) + ",\n  " + graph("flow_modulation", plain) + ",\n  " +
         graph("flow_field", plain) + ",\n  " + graph("vocoder", plain);
}

inline std::string sampling() {
  return R"({"temperature": 0.5, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.05,
   "recent_penalty": 1.05, "recent_window": 8})";
}

inline std::string dialogue() {
  return R"( "turns": {"first": "s {system} u {user} a", "next": "u {user} a",
  "first_text": "s {system} u {user} a", "next_text": "u {user} a", "end": [180, 181], "close": 180,
  "max_new_tokens": 100, "max_tokens_per_step": 40,
  "first_sampling": )" +
         sampling() + R"(, "sampling": )" + sampling() + R"(},
 "duplex": {"prompt": "s {system}", "think": 191, "shift": 192, "break": 193, "text_pad": 194,
  "plans": {"listen": [["think", "shift"]],
   "shift": [["text", "text_pad"], ["audio"], ["audio"], ["audio"], ["audio"]],
   "speak": [["break", "text", "text_pad"], ["audio"], ["audio"], ["audio"], ["audio"]]},
  "log_floor": 1e-6, "frame_pad": 240, "left_context_frames": 64, "chunk_mel_frames": 16,
  "window_positions": 256, "max_reply_chunks": 375, "fade_ms": 20,
  "sampling": )" +
         sampling() + "},\n";
}

inline std::string speech() {
  return R"( "flow": {"mode": "window", "solver": "midpoint", "spacing": "linear", "points": 10, "guidance": 1.0,
  "guided_evaluations": 18, "frames_per_code": 4, "codes_hz": 25, "prompt_codes": 0,
  "z": 3, "hidden": 8, "past_codes": 16, "lookahead_codes": 0, "latent_mean": [0, 0.5, -1],
  "latent_var": [1, 2, 3]},
 "vocoder": {"samples_per_latent": 240, "full_lookahead_frames": 13, "lookahead_frames": 3},
 "voices": {"plain": {"tokens": {"file": "v/tokens.i32", "shape": [5]},
  "latents": {"file": "v/latents.f32", "shape": [21, 3]},
  "speaker": {"file": "v/speaker.f32", "shape": [3]}}},
 "default_voice": "plain",
)";
}

}  // namespace manifest_parts

// Sizes differ from the published ones, so that nothing can lean on them.
inline std::string manifest_text() {
  using namespace manifest_parts;
  return R"({
 "schema_version": 1, "family": "covo_audio", "name": "small",
 "source": {"location": "here", "sha256": {"config.json": ")" +
         hash() + R"("}, "licence": "none", "notice": "für Tests"},
 "created_by": {"parley": "0.1.0"},
 "files": {)" +
         files() + R"(},
 "rates": {"input_hz": 24000, "encoder_hz": 16000, "output_hz": 24000, "chunk_ms": 160},
 "front_end": {"n_fft": 400, "hop": 160, "n_mels": 20, "mel_max_hz": 8000.0, "log_floor": 1e-10,
  "clamp_range": 8.0, "offset": 4.0, "scale": 4.0, "trim_samples": 240, "pad_samples": 480,
  "segment_samples": 720000, "feature_halvings": 4, "positions_hz": 100,
  "resampler": {"zeros": 6, "rolloff": 0.99}},
 "graphs": {)" +
         graphs() + R"(},
 "backbone": {"file": "backbone.gguf", "precision": "q8_0", "vocab_size": 300, "width": 24,
  "context": 512},
 "vocabulary": {"text_end": 200, "audio_begin": 200, "audio_codes": 90, "audio_placeholder": 190,
  "control": {"<|im_end|>": 180, "<|think|>": 191}},
)" + dialogue() +
         R"( "prompts": {"system": "Be brief."},
)" + speech() +
         R"( "limits": {"context": 512, "max_turn_seconds": 600}
})";
}

// The text with the first `from` replaced; throws where it holds none.
inline std::string changed(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) throw std::logic_error("the text does not hold " + from);
  return text.replace(at, from.size(), to);
}
