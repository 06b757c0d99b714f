// The rules between the parts of a manifest: files, rates, ids, shapes; reads no text and no file.
#include "bundle/manifest_check.h"

#include <algorithm>
#include <array>
#include <set>
#include <type_traits>

#include "parley/events.hpp"
#include "stages/contract.h"

namespace parley {
namespace {

std::string show(const char* words) {
  return words;
}
std::string show(const std::string& text) {
  return "\"" + text + "\"";
}
template <typename T>
  requires std::is_arithmetic_v<T>
std::string show(T number) {
  return std::to_string(number);
}

template <typename T>
void expect(bool good, const std::string& key, const std::string& expected, const T& got) {
  if (good) return;
  throw BundleError("[bundle.open] expected " + key + " to be " + expected + ", got " + show(got) +
                    "; export the bundle again");
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

void check_files(const Manifest& m) {
  expect(m.files.size() <= 4096, "files", "at most 4096", m.files.size());
  for (const auto& [name, entry] : m.files) {
    const std::string why = why_unsafe(name);
    expect(why.empty(), "a name in files", "inside the bundle (this one " + why + ")", name);
    expect(name != "manifest.json", "a name in files", "another than the manifest's", name);
    expect(is_sha256(entry.sha256), "files." + name + ".sha256", "64 lower-case hex digits",
           entry.sha256);
  }
  for (const auto& [name, hash] : m.source.sha256) {
    expect(is_sha256(hash), "source.sha256." + name, "64 lower-case hex digits", hash);
  }
}

void check_file(const Manifest& m, const std::string& key, const std::string& name) {
  expect(m.files.contains(name), key, "one of the names in files", name);
}

void check_rates(const Manifest& m) {
  const Rates& r = m.rates;
  for (const auto& [key, hz] : {std::pair{"input_hz", r.input_hz},
                                {"encoder_hz", r.encoder_hz},
                                {"output_hz", r.output_hz}}) {
    expect(std::int64_t{hz} * r.chunk_ms % 1000 == 0, "rates." + std::string(key),
           "such that a chunk of " + std::to_string(r.chunk_ms) + " ms has whole samples", hz);
  }
  const FrontEndConfig& f = m.front_end;
  expect(f.hop <= f.n_fft, "front_end.hop", "at most n_fft", f.hop);
  expect(f.mel_max_hz <= f.encoder_hz / 2.0, "front_end.mel_max_hz", "at most half of encoder_hz",
         f.mel_max_hz);
  const std::int64_t scaled = std::int64_t{f.segment_samples} * f.encoder_hz;
  const std::int64_t samples = scaled / f.input_hz;
  expect(scaled % f.input_hz == 0 && samples % f.hop == 0 && samples > f.n_fft / 2,
         "front_end.segment_samples", "whole mel frames at encoder_hz, and more than half of n_fft",
         f.segment_samples);
}

void check_tensors(const std::string& key, const std::vector<TensorSpec>& tensors) {
  expect(!tensors.empty(), key, "at least one tensor", 0);
  std::set<std::string> names;
  for (const TensorSpec& t : tensors) {
    expect(names.insert(t.name).second, key, "tensors of different names", t.name);
    const bool state =
        t.name.starts_with(contract::kStateIn) || t.name.starts_with(contract::kStateOut);
    expect(!state, key, "without states, which have a list of their own", t.name);
    expect(t.shape.size() <= Shape::kMaxRank, key + "." + t.name, "of at most 6 dimensions",
           t.shape.size());
    for (const std::int64_t d : t.shape) {
      expect(d != 0, key + "." + t.name, "of dimensions above 0, or -1 for free ones", d);
    }
  }
}

void check_state(const std::string& key, const StateSpec& state) {
  constexpr std::int64_t kMaxElements = std::int64_t{1} << 28U;
  expect(state.tensor.shape.size() <= Shape::kMaxRank, key, "of at most 6 dimensions",
         state.tensor.shape.size());
  std::int64_t count = 1;
  for (const std::int64_t d : state.tensor.shape) {
    expect(d > 0, key, "of a fixed shape", d);
    count = std::min(count * d, kMaxElements + 1);
  }
  expect(count <= kMaxElements, key, "of at most 2^28 elements", count);
}

void check_graph(const Manifest& m, const std::string& name, const GraphEntry& graph) {
  const std::string key = "graphs." + name;
  check_file(m, key + ".file", graph.file);
  for (const std::string& file : graph.external) check_file(m, key + ".external", file);
  check_tensors(key + ".inputs", graph.inputs);
  check_tensors(key + ".outputs", graph.outputs);
  std::set<std::string> names;
  for (const StateSpec& state : graph.states) {
    expect(names.insert(state.tensor.name).second, key + ".states", "of different names",
           state.tensor.name);
    check_state(key + ".states." + state.tensor.name, state);
  }
}

void check_graphs(const Manifest& m) {
  static constexpr std::array kNames = {
      contract::encoder_segment::kGraph, contract::encoder_chunk::kGraph,
      contract::head_slots::kGraph,      contract::head_input::kGraph,
      contract::flow_condition::kGraph,  contract::flow_encoder::kGraph,
      contract::flow_modulation::kGraph, contract::flow_field::kGraph,
      contract::vocoder::kGraph,         contract::vocoder_with_noise::kGraph};
  for (const auto& [name, graph] : m.graphs) {
    const bool known = std::any_of(kNames.begin(), kNames.end(),
                                   [&name = name](const char* k) { return name == k; });
    expect(known, "a name in graphs", "a graph of this version's contract", name);
    check_graph(m, name, graph);
  }
  // Exactly one of them.
  const auto needs = [&](const char* why, std::initializer_list<const char*> any) {
    std::string names;
    int n = 0;
    for (const char* name : any) {
      names += (names.empty() ? "" : " or ") + std::string(name);
      n += m.graph(name) != nullptr ? 1 : 0;
    }
    expect(n == 1, "graphs", "with " + names + ", which " + why + " needs",
           n == 0 ? "a bundle without it" : "several of them");
  };
  needs("every bundle", {contract::flow_condition::kGraph, contract::flow_encoder::kGraph});
  needs("every bundle", {contract::flow_modulation::kGraph});
  needs("every bundle", {contract::flow_field::kGraph});
  needs("every bundle", {contract::vocoder::kGraph, contract::vocoder_with_noise::kGraph});
  if (m.turns) needs("\"turns\"", {contract::encoder_segment::kGraph});
  if (m.duplex) needs("\"duplex\"", {contract::encoder_chunk::kGraph});
  if (m.head) needs("\"head\"", {contract::head_slots::kGraph});
  if (m.head) needs("\"head\"", {contract::head_input::kGraph});
  expect(m.turns || m.duplex, "turns or duplex", "there", "null for both");
}

void check_id(const Manifest& m, const std::string& key, std::int32_t id) {
  expect(id < m.backbone.vocab_size, key,
         "an id of the vocabulary, below " + std::to_string(m.backbone.vocab_size), id);
}

// Ids of codes: in the backbone's vocabulary, or behind all of it where a head makes them.
void check_codes(const Manifest& m) {
  const Vocabulary& v = m.vocabulary;
  expect(v.text_end > 0 && v.text_end <= v.audio_begin, "vocabulary.text_end",
         "above 0 and at most audio_begin", v.text_end);
  if (!m.head) check_id(m, "vocabulary.audio_begin", v.audio_begin);
  const std::int64_t first = m.head ? v.audio_begin - m.backbone.vocab_size : v.audio_begin;
  const std::int64_t ids = m.head ? m.head->vocab_size : m.backbone.vocab_size;
  expect(first == 0 || !m.head, "vocabulary.audio_begin",
         std::to_string(m.backbone.vocab_size) + ", behind the backbone's ids", v.audio_begin);
  expect(v.audio_codes <= ids - first, "vocabulary.audio_codes",
         "at most " + std::to_string(ids - first), v.audio_codes);
}

void check_head(const Manifest& m, const HeadEntry& head) {
  check_file(m, "head.file", head.file);
  for (const auto& [key, id] : {std::pair{"head.start", head.start}, {"head.end", head.end}}) {
    expect(id < head.vocab_size, key, "an id of the head, below " + std::to_string(head.vocab_size),
           id);
  }
  const std::int64_t needed = std::int64_t{head.group} * m.limits.context;
  expect(needed <= head.context, "head.context",
         "at least " + std::to_string(needed) + ", a group for each of limits.context",
         head.context);
}

void check_vocabulary(const Manifest& m) {
  const Vocabulary& v = m.vocabulary;
  check_file(m, "backbone.file", m.backbone.file);
  check_codes(m);
  if (m.head) check_head(m, *m.head);
  check_id(m, "vocabulary.audio_placeholder", v.audio_placeholder);
  for (const auto& [name, id] : v.control) check_id(m, "vocabulary.control." + name, id);
  expect(m.limits.context <= m.backbone.context, "limits.context", "at most backbone.context",
         m.limits.context);
}

std::size_t occurrences(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

void check_turns(const Manifest& m, const TurnsConfig& t) {
  for (const auto& [key, text] : {std::pair{"first", &t.first},
                                  {"next", &t.next},
                                  {"first_text", &t.first_text},
                                  {"next_text", &t.next_text}}) {
    const std::string path = std::string("turns.") + key;
    expect(occurrences(*text, "{user}") == 1, path, "a template with {user} once", *text);
    const bool first = std::string_view(key).starts_with("first");
    expect(occurrences(*text, "{system}") <= (first ? 1 : 0), path,
           first ? "a template with {system} at most once" : "a template without {system}", *text);
  }
  expect(t.history.empty() || occurrences(t.history, "{reply}") == 1, "turns.history",
         "a template with {reply} once", t.history);
  expect(!t.end.empty(), "turns.end", "at least one id", 0);
  for (const std::int32_t id : t.end) check_id(m, "turns.end", id);
  check_id(m, "turns.close", t.close);
  if (!t.speech.has_groups()) return;
  check_id(m, "turns.speech.begin", t.speech.begin);
  check_id(m, "turns.speech.end", t.speech.end);
  check_id(m, "turns.speech.text_pad", t.speech.text_pad);
}

// Slots that may draw an audio code: as many as a chunk's speech has, or fewer where other ids may
// come in their place. None while listening.
void check_plan(const Manifest& m, const std::string& key, const SlotPlan& plan,
                bool may_be_empty) {
  expect(may_be_empty || !plan.empty(), key, "at least one slot", 0);
  std::size_t n_audio = 0;
  bool free = plan.empty();
  for (const std::vector<SlotKind>& slot : plan) {
    expect(!slot.empty(), key, "slots of at least one kind each", 0);
    const auto holds = [&](SlotKind kind) {
      return std::count(slot.begin(), slot.end(), kind) > 0;
    };
    const bool may_sound = holds(SlotKind::any) || holds(SlotKind::audio);
    free = free || holds(SlotKind::any) || (may_sound && slot.size() > 1);
    n_audio += may_sound ? 1 : 0;
  }
  const std::size_t wanted = key.ends_with("listen") ? 0 : m.flow.codes_per_chunk;
  expect(free ? n_audio <= wanted : n_audio == wanted, key,
         "a plan with " + std::to_string(wanted) +
             " audio slots, as many codes as a chunk's speech has",
         n_audio);
}

void check_duplex(const Manifest& m, const DuplexConfig& d) {
  expect(occurrences(d.prompt, "{system}") <= 1, "duplex.prompt",
         "a template with {system} at most once", d.prompt);
  const Vocabulary& v = m.vocabulary;
  check_id(m, "duplex.think", v.think);
  check_id(m, "duplex.shift", v.shift);
  check_id(m, "duplex.break", v.break_);
  check_id(m, "duplex.text_pad", v.text_pad);
  const std::set<std::int32_t> control{v.think, v.shift, v.break_};
  expect(control.size() == 3, "duplex.think, shift and break", "three ids", control.size());
  check_plan(m, "duplex.plans.listen", d.plans.listen, false);
  check_plan(m, "duplex.plans.shift", d.plans.shift, true);
  check_plan(m, "duplex.plans.speak", d.plans.speak, false);
  const FrontEndConfig& f = m.front_end;
  expect(d.frame_pad == f.n_fft - f.hop, "duplex.frame_pad",
         std::to_string(f.n_fft - f.hop) + " (n_fft less hop)", d.frame_pad);
  const auto chunk = static_cast<std::int64_t>(m.rates.encoder_chunk());
  expect(std::int64_t{d.chunk_mel_frames} * f.hop == chunk, "duplex.chunk_mel_frames",
         "the hops of a chunk's " + std::to_string(chunk) + " encoder samples", d.chunk_mel_frames);
  expect(d.window_positions <= m.limits.context, "duplex.window_positions",
         "at most limits.context", d.window_positions);
}

void check_speech(const Manifest& m) {
  const FlowConfig& f = m.flow;
  expect(std::int64_t{m.codes_hz} * m.rates.chunk_ms % 1000 == 0 && f.codes_per_chunk > 0,
         "flow.codes_hz", "a whole number of codes per chunk", m.codes_hz);
  expect(f.latent_mean.size() == f.z, "flow.latent_mean", std::to_string(f.z) + " numbers (z)",
         f.latent_mean.size());
  expect(f.latent_var.size() == f.z, "flow.latent_var", std::to_string(f.z) + " numbers (z)",
         f.latent_var.size());
  const std::size_t hz =
      m.vocoder.samples_per_latent * f.frames_per_code * static_cast<std::size_t>(m.codes_hz);
  expect(hz == static_cast<std::size_t>(m.rates.output_hz), "rates.output_hz",
         std::to_string(hz) + " (samples_per_latent * frames_per_code * codes_hz)",
         m.rates.output_hz);
}

void check_array(const Manifest& m, const std::string& key, const ArrayEntry& array,
                 std::size_t rank) {
  check_file(m, key + ".file", array.file);
  expect(array.shape.size() == rank, key + ".shape", std::to_string(rank) + " numbers",
         array.shape.size());
  const std::int64_t bytes = array.count() * 4;
  expect(m.files.at(array.file).bytes == bytes, "files." + array.file + ".bytes",
         std::to_string(bytes) + ", as " + key + ".shape says", m.files.at(array.file).bytes);
}

void check_voices(const Manifest& m) {
  for (const auto& [name, voice] : m.voices) {
    const std::string key = "voices." + name;
    expect(why_unsafe(name).empty() && name.find('/') == std::string::npos, "a name in voices",
           "a plain name", name);
    check_array(m, key + ".tokens", voice.tokens, 1);
    check_array(m, key + ".latents", voice.latents, 2);
    check_array(m, key + ".speaker", voice.speaker, 1);
    expect(static_cast<std::size_t>(voice.latents.shape[1]) == m.flow.z, key + ".latents.shape",
           "[frames, " + std::to_string(m.flow.z) + "]", voice.latents.shape[1]);
  }
  expect(m.voices.contains(m.default_voice), "default_voice", "one of the names in voices",
         m.default_voice);
  expect(m.prompts.contains("system"), "prompts", "with \"system\"", "prompts without it");
}

}  // namespace

void check_consistency(const Manifest& manifest) {
  check_files(manifest);
  check_rates(manifest);
  check_speech(manifest);
  check_graphs(manifest);
  check_vocabulary(manifest);
  if (manifest.turns) check_turns(manifest, *manifest.turns);
  if (manifest.duplex) check_duplex(manifest, *manifest.duplex);
  check_voices(manifest);
}

}  // namespace parley
