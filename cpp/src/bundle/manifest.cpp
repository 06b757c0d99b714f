// Reads manifest.json field by field into structs; what fields have in common is checked elsewhere.
#include "bundle/manifest.h"

#include <algorithm>

#include "base/json_fields.h"
#include "bundle/flow_section.h"
#include "bundle/manifest_check.h"

namespace parley {
namespace {

using json::Fields;
using json::NotEmpty;
using json::OneOf;
using json::Range;

// Bounds that keep every product of two sizes far from overflow; no real bundle comes near them.
constexpr Range kHz{1, 1e6};
constexpr Range kCount{0, 1e6};
constexpr Range kSize{1, 1e6};
constexpr Range kDim{-1, 1e9};
constexpr Range kBytes{0, 1e15};
constexpr Range kWork{0, 1e15};
constexpr Range kId{0, 2147483647};
constexpr Range kSamples{1, 1e9};
constexpr Range kFloor{1e-30, 1};
constexpr Range kShare{1e-6, 1};
constexpr Range kFactor{1e-3, 1e3};

constexpr char kAgain[] = "; export the bundle again with this version of parley";

}  // namespace

// The visitors and their types stay out of the unnamed namespace, or argument lookup misses them.

static void visit(Fields& f, FileEntry& e) {
  f("bytes", e.bytes, kBytes)("sha256", e.sha256);
}

static void visit(Fields& f, SourceInfo& s) {
  f("location", s.location)("sha256", s.sha256)("licence", s.licence)("notice", s.notice);
}

static void visit(Fields& f, Rates& r) {
  f("input_hz", r.input_hz, kHz)("encoder_hz", r.encoder_hz, kHz)("output_hz", r.output_hz, kHz);
  f("chunk_ms", r.chunk_ms, Range{1, 10000});
}

struct ResamplerFields {  // lie one level deeper in the text than in the struct
  FrontEndConfig& config;
};

static void visit(Fields& f, ResamplerFields& r) {
  f("zeros", r.config.resampler_zeros, Range{1, 64});
  f("rolloff", r.config.resampler_rolloff, Range{0.1, 1});
}

static void visit(Fields& f, FrontEndConfig& c) {
  f("n_fft", c.n_fft, Range{2, 65536})("hop", c.hop, Range{1, 65536});
  f("n_mels", c.n_mels, Range{1, 4096})("mel_max_hz", c.mel_max_hz, kHz);
  f("log_floor", c.log_floor, kFloor)("clamp_range", c.clamp_range, Range{0, 100});
  f("offset", c.offset, Range{-100, 100})("scale", c.scale, kFactor);
  f("trim_samples", c.trim_samples, kSize)("pad_samples", c.pad_samples, kSize);
  f("segment_samples", c.segment_samples, kSamples);
  f("feature_halvings", c.feature_halvings, Range{0, 16});
  f("positions_hz", c.positions_hz, kHz);
  f.may("tail_samples", c.tail_samples, kCount).may("pooled_halving", c.pooled_halving, kCount);
  f.may("hidden_mel_frames", c.hidden_mel_frames, kCount);
  f.may("feature_rows_hz", c.feature_rows_hz, kCount).may("feature_group", c.feature_group, kSize);
  f.may("block_mel_frames", c.block_mel_frames, kCount);
  ResamplerFields resampler{c};
  f("resampler", resampler);
}

static void visit(Fields& f, TensorSpec& t) {
  f("name", t.name, NotEmpty{})("type", t.type, OneOf{{"f32", "i64", "f16"}})("shape", t.shape,
                                                                              kDim);
}

static void visit(Fields& f, StateSpec& s) {
  visit(f, s.tensor);
  f("initial", s.initial, Range{-1e30, 1e30});
}

static void visit(Fields& f, WorkEntry& w) {
  f("weights", w.weights, kWork)("macs", w.macs, kWork);
  f.may("attention", w.attention, kWork).may("cached", w.cached, kWork);
  f.may("activated", w.activated, kWork).may("bytes", w.bytes, kWork);
}

static void visit(Fields& f, GraphEntry& g) {
  f("file", g.file)("external", g.external)(
      "precision", g.precision,
      OneOf{{"f32", "f16", "bf16", "int8", "int8_static", "w8", "w8_128", "w4", "w4_128", "w4_gptq",
             "w4_128_gptq"}});
  f("opset", g.opset, Range{1, 1000})("inputs", g.inputs)("outputs", g.outputs);
  f.may("custom_ops", g.custom_ops).may("states", g.states).may("work", g.work);
}

static void visit(Fields& f, BackboneEntry& b) {
  f("file", b.file);
  f("precision", b.precision,
    OneOf{{"f32", "f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "q3_k_m", "q2_k"}});
  f("vocab_size", b.vocab_size, Range{1, 1e8})("width", b.width, kSize);
  f("context", b.context, Range{1, 1e8}).may("work", b.work).may("logits", b.logits);
}

static void visit(Fields& f, Vocabulary& v) {
  f("text_end", v.text_end, kId)("audio_begin", v.audio_begin, kId);
  f("audio_codes", v.audio_codes, Range{1, 1e8})("audio_placeholder", v.audio_placeholder, kId);
  f("control", v.control, kId);
}

static void visit(Fields& f, SamplingConfig& s) {
  f("temperature", s.temperature, Range{0, 100})("top_k", s.top_k, Range{0, 1e8});
  f("top_p", s.top_p, kShare)("repetition_penalty", s.repetition_penalty, kFactor);
  f("recent_penalty", s.recent_penalty, kFactor)("recent_window", s.recent_window, kCount);
  f.may("all_turns", s.all_turns, Range{0, 1});
}

static void visit(Fields& f, HeadEntry& h) {
  visit(f, static_cast<BackboneEntry&>(h));
  f("group", h.group, kSize)("start", h.start, kId)("end", h.end, kId)("sampling", h.sampling);
}

static void visit(Fields& f, SpeechConfig& s) {
  f("begin", s.begin, kId)("end", s.end, kId)("text_pad", s.text_pad, kId);
  f("text", s.text, Range{1, 64})("audio", s.audio, Range{1, 64}).may("held_to", s.held_to);
}

static void visit(Fields& f, TurnsConfig& t) {
  f("first", t.first)("next", t.next)("first_text", t.first_text)("next_text", t.next_text);
  f("end", t.end, kId)("close", t.close, kId);
  f("max_new_tokens", t.max_new_tokens, kSize);
  f("max_tokens_per_step", t.max_tokens_per_step,
    Range{1, 512});  // a step keeps room for its events
  f("first_sampling", t.first_sampling)("sampling", t.sampling);
  f.may("short_segments", t.short_segments).may("between", t.between).may("speech", t.speech);
  f.may("history", t.history);
}

static void visit(Fields& f, DuplexPlans& p) {
  const OneOf kinds{{"text", "audio", "think", "shift", "break", "text_pad", "any"}};
  f("listen", p.listen, kinds)("shift", p.shift, kinds)("speak", p.speak, kinds);
}

struct DuplexFields {  // whose ids the struct keeps with all others
  DuplexConfig& config;
  Vocabulary& vocabulary;
};

static void visit(Fields& f, DuplexFields& fields) {
  DuplexConfig& d = fields.config;
  Vocabulary& v = fields.vocabulary;
  f("prompt", d.prompt)("think", v.think, kId)("shift", v.shift, kId)("break", v.break_, kId);
  f("text_pad", v.text_pad, kId)("plans", d.plans)("log_floor", d.log_floor, kFloor);
  int left_context_frames = 0;  // is in the graph; whoever reads the manifest may know it too
  f("frame_pad", d.frame_pad, kCount)("left_context_frames", left_context_frames, kSize);
  f("chunk_mel_frames", d.chunk_mel_frames, kSize);
  f("window_positions", d.window_positions, Range{1, 1e8});
  f("max_reply_chunks", d.max_reply_chunks, kSize)("fade_ms", d.fade_ms, Range{0, 1000});
  f("sampling", d.sampling);
}

struct DuplexSection {
  std::optional<DuplexConfig>& config;
  Vocabulary& vocabulary;
};

static void read(const json::Node& node, DuplexSection& out) {
  out.config.reset();
  if (node.value.kind == json::Kind::null) return;
  DuplexFields fields{out.config.emplace(), out.vocabulary};
  json::read(node, fields);
}

static void visit(Fields& f, VocoderConfig& v) {
  f("samples_per_latent", v.samples_per_latent, kSize);
  f("full_lookahead_frames", v.full_lookahead_frames, kCount);
  f("lookahead_frames", v.lookahead_frames, kCount);
  f.may("source_lookahead_samples", v.source_lookahead_samples, kCount);
}

static void visit(Fields& f, ArrayEntry& a) {
  f("file", a.file)("shape", a.shape, Range{0, 1e7});
}

static void visit(Fields& f, VoiceEntry& v) {
  f("tokens", v.tokens)("latents", v.latents)("speaker", v.speaker);
}

static void visit(Fields& f, Limits& l) {
  f("context", l.context, Range{1, 1e8})("max_turn_seconds", l.max_turn_seconds, kSize);
}

static void visit(Fields& f, Manifest& m) {
  FlowSection flow{m.flow, m.codes_hz};
  DuplexSection duplex{m.duplex, m.vocabulary};
  f("schema_version", m.schema_version, kSize)("family", m.family, NotEmpty{});
  f("name", m.name, NotEmpty{})("source", m.source)("created_by", m.created_by)("files", m.files);
  f("rates", m.rates)("front_end", m.front_end)("graphs", m.graphs)("backbone", m.backbone);
  f.may("head", m.head);
  f("vocabulary", m.vocabulary)("turns", m.turns)("duplex", duplex)("prompts", m.prompts);
  f("flow", flow)("vocoder", m.vocoder)("voices", m.voices)("default_voice", m.default_voice);
  f("limits", m.limits);
}

namespace {

// Before anything else is looked at: another schema may have other keys.
void check_schema(const json::Node& root) {
  root.require(json::Kind::object);
  const json::Value* version = root.value.find("schema_version");
  if (version == nullptr) root.fail("the key \"schema_version\"", "an object without it");
  if (!version->is_int) json::Node{*version, "schema_version"}.require(json::Kind::number);
  if (version->is_int && version->integer == kManifestSchema) return;
  const bool newer = version->number > kManifestSchema;
  throw BundleError(
      "[bundle.open] expected schema_version " + std::to_string(kManifestSchema) + ", got " +
      (version->is_int ? std::to_string(version->integer) : "a fraction") +
      (newer ? "; use a newer version of parley, or export the bundle again with this one"
             : kAgain));
}

// Fields that several parts share are written once in the text.
void fill_in(Manifest& m) {
  m.front_end.input_hz = m.rates.input_hz;
  m.front_end.encoder_hz = m.rates.encoder_hz;
  if (m.turns) {
    auto prompts = m.prompts;  // what is not there is empty
    m.turns->tools = {prompts["schemas"], prompts["call"], prompts["output"]};
  }
  if (m.duplex) {
    m.front_end.chunk_log_floor = m.duplex->log_floor;
    m.front_end.chunk_frame_pad = m.duplex->frame_pad;
  }
  m.flow.codes_per_chunk =
      static_cast<std::size_t>(std::int64_t{m.codes_hz} * m.rates.chunk_ms / 1000);
  m.flow.n_codes = m.vocabulary.audio_codes;
  m.vocoder.z = m.flow.z;
  m.vocoder.max_push_frames = max_frames(m.flow, 2 * m.flow.codes_per_chunk);
}

Manifest checked(json::Value document) {
  Manifest manifest;
  const json::Node root{document, ""};
  check_schema(root);
  json::read(root, manifest);
  fill_in(manifest);
  check_consistency(manifest);
  manifest.document = std::move(document);
  return manifest;
}

}  // namespace

std::int64_t ArrayEntry::count() const {
  std::int64_t n = 1;
  for (const std::int64_t d : shape) n *= d;
  return n;
}

const GraphEntry* Manifest::graph(std::string_view name) const {
  const auto found = graphs.find(std::string(name));
  return found == graphs.end() ? nullptr : &found->second;
}

Manifest parse_manifest(std::string_view text, const std::string& where) {
  try {
    return checked(json::parse(text));
  } catch (const json::ParseError& error) {
    throw BundleError("[bundle.open] expected " + error.expected() + " in " + where + ", got " +
                      error.got() + json::where(error.place()) + kAgain);
  }
}

Manifest read_manifest(const std::filesystem::path& folder) {
  const MappedFile file(folder, "manifest.json");
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  return parse_manifest(text, (folder / "manifest.json").string());
}

Manifest with_flow(const Manifest& manifest, const FlowSettings& settings) {
  if (settings == FlowSettings()) return manifest;
  json::Value document = manifest.document;
  put_flow_settings(document, settings);
  try {
    return checked(std::move(document));
  } catch (const json::ParseError& error) {
    // Its line is that of a text that the caller never saw; the key is what helps.
    refuse_flow(error.expected(), error.got() + " (key " + error.place().key + ")",
                "correct the setting");
  }
}

}  // namespace parley
