// manifest.json as values: the one reader of a bundle's manifest; opens no file but that one.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audio/front_end.h"
#include "base/file.h"
#include "base/json.h"
#include "base/tensor.h"
#include "parley/flow_settings.hpp"
#include "session/config.h"
#include "stages/encoder.h"
#include "stages/flow/config.h"
#include "stages/vocoder.h"

namespace parley {

constexpr int kManifestSchema = 1;

// Where the weights came from, and what their user must be shown.
struct SourceInfo {
  std::string location;
  std::map<std::string, std::string> sha256;  // of the checkpoint's files
  std::string licence;
  std::string notice;
};

struct Rates {
  int input_hz = 24000;
  int encoder_hz = 16000;
  int output_hz = 24000;
  int chunk_ms = 160;

  std::size_t input_chunk() const { return samples(input_hz); }  // samples of one chunk
  std::size_t encoder_chunk() const { return samples(encoder_hz); }
  std::size_t output_chunk() const { return samples(output_hz); }

 private:
  std::size_t samples(int hz) const {
    return static_cast<std::size_t>(std::int64_t{hz} * chunk_ms / 1000);
  }
};

// What one run takes, in numbers and multiply-adds; the engine checks it and needs none of it.
struct WorkEntry {
  std::int64_t weights = 0;    // read in every run
  std::int64_t macs = 0;       // of a row: a frame or position of the run
  std::int64_t attention = 0;  // of a row with each row that it sees
  std::int64_t cached = 0;     // read of each earlier row
  std::int64_t activated = 0;  // values of a row that pass an activation
  std::int64_t bytes = 0;      // of the weights as stored; 0: their type tells
};

struct GraphEntry {
  std::string file;
  std::vector<std::string> external;  // files that hold its weights; it may refer to no other
  std::string precision;              // f32 | f16 | bf16, or a type of `parley quantize`
  int opset = 0;
  std::vector<std::string> custom_ops;  // operators beyond ONNX's own, "domain.Name"
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  std::vector<StateSpec> states;
  WorkEntry work;  // zeros where nothing is told
};

struct BackboneEntry {
  std::string file;
  std::string precision;  // f32, f16 or a type of llama.cpp, such as q4_k_m
  std::int32_t vocab_size = 0;
  std::int32_t width = 0;
  std::int32_t context = 0;
  WorkEntry work;    // of the layers
  WorkEntry logits;  // of their weights
};

// A decoder with a cache of its own that makes `group` codes of each of the backbone's states. Its
// ids are codes and, behind them, a few of its own; in the vocabulary they follow the backbone's.
struct HeadEntry : BackboneEntry {
  std::int32_t group = 0;
  std::int32_t start = 0;  // stands before the first code, and for silence before the first sound
  std::int32_t end = 0;    // ends speech
  SamplingConfig sampling;
};

// A raw little-endian array.
struct ArrayEntry {
  std::string file;
  std::vector<std::int64_t> shape;

  std::int64_t count() const;
};

struct VoiceEntry {
  ArrayEntry tokens;   // i32 [n]
  ArrayEntry latents;  // f32 [frames, z], normalised
  ArrayEntry speaker;  // f32 [speaker width]
};

struct Limits {
  std::int32_t context = 0;
  int max_turn_seconds = 0;
};

struct Manifest {
  int schema_version = kManifestSchema;
  std::string family;
  std::string name;
  SourceInfo source;
  std::map<std::string, std::string> created_by;
  FileTable files;
  Rates rates;
  FrontEndConfig front_end;  // rates and the chunk form's numbers filled in from `rates`, `duplex`
  std::map<std::string, GraphEntry> graphs;
  BackboneEntry backbone;
  std::optional<HeadEntry> head;
  Vocabulary vocabulary;
  std::optional<TurnsConfig> turns;
  std::optional<DuplexConfig> duplex;
  std::map<std::string, std::string> prompts;
  FlowConfig flow;  // codes_per_chunk follows from codes_hz and chunk_ms
  int codes_hz = 25;
  VocoderConfig vocoder;  // z is the flow decoder's
  std::map<std::string, VoiceEntry> voices;
  std::string default_voice;
  Limits limits;
  json::Value document;  // all of it as it was written, but for with_flow()

  const GraphEntry* graph(std::string_view name) const;  // null where the bundle has none
};

// Reads and checks `folder`/manifest.json. Throws BundleError that names the key and what to do.
Manifest read_manifest(const std::filesystem::path& folder);

// The same from text; `where` names the text in messages.
Manifest parse_manifest(std::string_view text, const std::string& where);

// With settings of a caller instead of those of section "flow". Throws InputError that names what
// is wrong with them.
Manifest with_flow(const Manifest& manifest, const FlowSettings& settings);

}  // namespace parley
