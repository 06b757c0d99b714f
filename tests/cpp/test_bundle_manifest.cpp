// The manifest reader: every field arrives, and every kind of damage is named; opens no other file.
#include "bundle/manifest.h"

#include <random>

#include "check.h"
#include "manifest_text.h"
#include "scratch_folder.h"

using namespace parley;

namespace {

Manifest parsed(const std::string& text) {
  return parse_manifest(text, "manifest.json");
}

struct Change {
  const char* from;
  const char* to;
  const char* message;
};

void check_refused(const Change& change) {
  CHECK_THROWS_MSG(BundleError, change.message,
                   parsed(changed(manifest_text(), change.from, change.to)));
}

// With a second decoder, which makes the codes.
std::string text_with_head() {
  const std::string graph =
      R"(": {"file": "flow_field.onnx", "external": [], "precision": "f32", "opset": 20,
   "inputs": [{"name": "x", "type": "f32", "shape": [1, -1]}],
   "outputs": [{"name": "y", "type": "f32", "shape": [1, -1]}]}, ")";
  std::string text = changed(manifest_text(), "\"vocabulary\": {",
                             R"("head": {"file": "weights.data", "precision": "q8_0",
  "vocab_size": 94, "width": 8, "context": 2560, "group": 5, "start": 90, "end": 91,
  "sampling": )" + manifest_parts::sampling() +
                                 "},\n \"vocabulary\": {");
  text = changed(text, "\"audio_begin\": 200", "\"audio_begin\": 300");
  return changed(text, "\"graphs\": {\"",
                 "\"graphs\": {\"head_slots" + graph + "head_input" + graph);
}

}  // namespace

TEST(manifest_fields_arrive) {
  const Manifest m = parsed(manifest_text());
  CHECK_EQ(m.family, "covo_audio");
  CHECK_EQ(m.source.notice, "für Tests");
  CHECK_EQ(m.files.at("v/latents.f32").bytes, 252);
  CHECK_EQ(m.rates.input_chunk(), 3840U);
  CHECK_EQ(m.rates.encoder_chunk(), 2560U);
  CHECK_EQ(m.front_end.n_mels, 20);
  CHECK_EQ(m.front_end.encoder_hz, 16000);
  CHECK_EQ(m.front_end.resampler_rolloff, 0.99);
  CHECK_EQ(m.front_end.chunk_log_floor, 1e-6);
  CHECK_EQ(m.backbone.precision, "q8_0");
  CHECK_EQ(m.vocabulary.control.at("<|think|>"), 191);
  CHECK_EQ(m.prompts.at("system"), "Be brief.");
  CHECK_EQ(m.vocoder.full_lookahead_frames, 13U);
  CHECK_EQ(m.vocoder.lookahead_frames, 3U);
  CHECK_EQ(m.vocoder.z, 3U);
  CHECK_EQ(m.voices.at("plain").latents.count(), 63);
  CHECK_EQ(m.limits.max_turn_seconds, 600);
}

TEST(manifest_graphs_arrive) {
  const Manifest m = parsed(manifest_text());
  CHECK(m.graph("nothing") == nullptr);
  const GraphEntry* graph = m.graph("encoder_chunk");
  REQUIRE(graph != nullptr && graph->inputs.size() == 1 && graph->states.size() == 1);
  CHECK_EQ(graph->file, "encoder_chunk.onnx");
  CHECK(graph->states[0].tensor.type == DType::i64);
  CHECK((graph->inputs[0].shape == std::vector<std::int64_t>{1, 20, 16}));
  CHECK_EQ(graph->states[0].tensor.name, "filled");
  CHECK(m.graph("vocoder")->states.empty());
  CHECK_EQ(m.graph("vocoder")->inputs[0].shape[1], -1);
}

TEST(manifest_dialogue_arrives) {
  const Manifest m = parsed(manifest_text());
  REQUIRE(m.turns && m.duplex);
  CHECK((m.turns->end == std::vector<std::int32_t>{180, 181}));
  CHECK_EQ(m.turns->sampling.top_k, 50);
  CHECK_EQ(m.vocabulary.break_, 193);
  CHECK_EQ(m.duplex->plans.shift.size(), 5U);
  CHECK((m.duplex->plans.speak[0] ==
         std::vector<SlotKind>{SlotKind::break_, SlotKind::text, SlotKind::text_pad}));
  CHECK_EQ(m.flow.codes_per_chunk, 4U);
  CHECK_EQ(m.codes_hz, 25);
  CHECK_EQ(m.flow.latent_mean[2], -1.0F);
}

TEST(manifest_may_hold_one_form) {
  std::string text = manifest_text();
  const std::size_t begin = text.find("\"duplex\": {");
  const std::size_t end = text.find(" \"prompts\"");
  text.replace(begin, end - begin, "\"duplex\": null,\n");
  const Manifest m = parsed(text);
  CHECK(m.turns && !m.duplex);
  CHECK_THROWS_MSG(BundleError, "turns or duplex", [&] {
    const std::size_t from = text.find("\"turns\": {");
    const std::size_t to = text.find(" \"duplex\"");
    return parsed(text.replace(from, to - from, "\"turns\": null,\n"));
  }());
}

TEST(short_segments_are_off_where_the_manifest_says_nothing) {
  CHECK(!parsed(manifest_text()).turns->short_segments);
  const std::string on = changed(manifest_text(), "\"max_new_tokens\": 100",
                                 "\"max_new_tokens\": 100, \"short_segments\": true");
  CHECK(parsed(on).turns->short_segments);
}

TEST(manifest_may_hold_a_head) {
  CHECK(!parsed(manifest_text()).head);
  const Manifest m = parsed(text_with_head());
  CHECK_EQ(m.head->width, 8);
  CHECK_EQ(m.head->group, 5);
  CHECK_EQ(m.head->sampling.top_k, 50);
  for (const Change& change : std::initializer_list<Change>{
           {"\"end\": 91", "\"end\": 94", "head.end to be an id of the head, below 94"},
           {"\"context\": 2560", "\"context\": 2559", "at least 2560, a group for each"},
           {"\"file\": \"weights.data\"", "\"file\": \"other\"", "head.file"},
           {"\"audio_begin\": 300", "\"audio_begin\": 301", "300, behind the backbone's ids"},
           {"\"audio_codes\": 90", "\"audio_codes\": 95", "at most 94, got 95"},
           {"\"head_slots\": {", "\"flow_encoder\": {", "several of them"},
       }) {
    CHECK_THROWS_MSG(BundleError, change.message,
                     parsed(changed(text_with_head(), change.from, change.to)));
  }
}

TEST(a_finished_reply_may_be_told_anew) {
  const std::string told =
      changed(manifest_text(), "\"close\": 180,", "\"close\": 180, \"history\": \"{reply} end\",");
  CHECK_EQ(parsed(told).turns->history, "{reply} end");
  CHECK_THROWS_MSG(BundleError, "turns.history", parsed(changed(told, "{reply} end", "end")));
}

TEST(manifest_of_another_schema_is_named) {
  check_refused({"\"schema_version\": 1", "\"schema_version\": 2",
                 "[bundle.open] expected schema_version 1, got 2; use a newer version"});
  check_refused({"\"schema_version\": 1", "\"schema_version\": 0",
                 "expected schema_version 1, got 0; export"});
  check_refused({"\"schema_version\": 1", "\"schema_version\": \"1\"", "expected a number"});
  check_refused({"\"schema_version\": 1,", "", "the key \"schema_version\""});
  CHECK_THROWS_MSG(BundleError, "got 2", parsed(R"({"schema_version": 2, "all": "else"})"));
  CHECK_THROWS_MSG(BundleError, "an object", parsed("[]"));
}

TEST(manifest_keys_are_exact) {
  for (const Change& change : std::initializer_list<Change>{
           {"\"family\"", "\"familie\"", "the key \"family\""},
           {"\"name\": \"small\"", "\"name\": \"small\", \"x\": 1", "got \"x\" at line 2"},
           {"\"zeros\": 6", "\"zeros\": 6, \"y\": 0", "(key front_end.resampler.y)"},
           {"\"zeros\": 6, ", "", "the key \"zeros\" in manifest.json, got an object without it"},
           {"\"top_k\": 50, ", "", "(key turns.first_sampling)"},
           {"\"initial\": 0.0", "\"initial\": 0.0, \"z\": 0",
            "(key graphs.encoder_chunk.states[0].z)"},
           {"\"bytes\": 1000", "\"bytes\": 1000, \"bytes\": 1000", "\"bytes\" twice"},
       }) {
    check_refused(change);
  }
}

TEST(manifest_types_are_exact) {
  for (const Change& change : std::initializer_list<Change>{
           {"\"family\": \"covo_audio\"", "\"family\": 1",
            "expected a string in manifest.json, got 1"},
           {"\"family\": \"covo_audio\"", "\"family\": \"\"", "(key family)"},
           {"\"input_hz\": 24000", "\"input_hz\": 24000.5", "a whole number"},
           {"\"input_hz\": 24000", "\"input_hz\": \"24000\"", "got \"24000\""},
           {"\"input_hz\": 24000", "\"input_hz\": null", "got null"},
           {"\"end\": [180, 181]", "\"end\": 180", "an array"},
           {"\"end\": [180, 181]", "\"end\": [180, true]", "(key turns.end[1])"},
           {"\"type\": \"i64\"", "\"type\": \"i32\"", "(key graphs."},
           {"\"precision\": \"q8_0\"", "\"precision\": \"q3_k\"", "(key backbone.precision)"},
           {"\"solver\": \"midpoint\"", "\"solver\": \"heun\"", "expected \"midpoint\""},
           {"\"mode\": \"window\"", "\"mode\": \"fast\"", "(key flow.mode)"},
           {"[\"think\", \"shift\"]", "[\"think\", \"sing\"]", "(key duplex.plans.listen[0][1])"},
           {"\"think\": 191,", "\"think\": 191.0,", "a whole number"},
       }) {
    check_refused(change);
  }
}

TEST(manifest_ranges_are_checked) {
  for (const Change& change : std::initializer_list<Change>{
           {"\"input_hz\": 24000", "\"input_hz\": 0", "(key rates.input_hz)"},
           {"\"chunk_ms\": 160", "\"chunk_ms\": -160", "(key rates.chunk_ms)"},
           {"\"bytes\": 1000", "\"bytes\": -1", "got -1"},
           {"\"bytes\": 1000", "\"bytes\": 99999999999999999999",
            "(key files.backbone.gguf.bytes)"},
           {"\"n_fft\": 400", "\"n_fft\": 1", "(key front_end.n_fft)"},
           {"\"log_floor\": 1e-10", "\"log_floor\": 0", "(key front_end.log_floor)"},
           {"\"scale\": 4.0", "\"scale\": 0.0", "(key front_end.scale)"},
           {"\"top_p\": 0.9", "\"top_p\": 1.1", "(key turns.first_sampling.top_p)"},
           {"\"repetition_penalty\": 1.05", "\"repetition_penalty\": 0", "repetition_penalty"},
           {"\"points\": 10", "\"points\": 1", "(key flow.points)"},
           {"\"past_codes\": 16", "\"past_codes\": 1025", "(key flow.past_codes)"},
           {"\"latent_var\": [1, 2, 3]", "\"latent_var\": [1, 0, 3]", "(key flow.latent_var[1])"},
           {"\"shape\": [21, 3]", "\"shape\": [-21, -3]", "(key voices.plain.latents.shape[0])"},
           {"\"vocab_size\": 300", "\"vocab_size\": 3e2", "a whole number"},
       }) {
    check_refused(change);
  }
}

TEST(manifest_files_stay_inside) {
  const std::string upper(64, 'A');
  for (const Change& change : std::initializer_list<Change>{
           {"\"v/tokens.i32\": {", "\"../tokens.i32\": {", "has a part \"..\""},
           {"\"weights.data\": {", "\"/etc/passwd\": {", "is absolute"},
           {"\"weights.data\": {", "\"a\\\\b\": {", "backslash"},
           {"\"weights.data\": {", "\"a\\u0000b\": {", "control character"},
           {"\"weights.data\": {", "\"manifest.json\": {", "another than the manifest's"},
           {"\"sha256\": \"aaaa", "\"sha256\": \"aaa", "64 lower-case hex digits"},
           {"\"file\": \"vocoder.onnx\"", "\"file\": \"vocoder2.onnx\"", "graphs.vocoder.file"},
           {"\"external\": []", "\"external\": [\"more.data\"]", "graphs.encoder_segment.external"},
           {"\"file\": \"backbone.gguf\"", "\"file\": \"b.gguf\"", "backbone.file"},
           {"\"file\": \"v/speaker.f32\"", "\"file\": \"v/x.f32\"", "voices.plain.speaker.file"},
       }) {
    check_refused(change);
  }
}

TEST(manifest_numbers_agree) {
  for (const Change& change : std::initializer_list<Change>{
           {"\"chunk_ms\": 160", "\"chunk_ms\": 161", "a whole number of codes per chunk"},
           {"\"input_hz\": 24000", "\"input_hz\": 24001", "rates.input_hz"},
           {"\"output_hz\": 24000", "\"output_hz\": 48000", "samples_per_latent * frames_per_code"},
           {"\"latent_mean\": [0, 0.5, -1]", "\"latent_mean\": [0, 0.5]", "3 numbers (z), got 2"},
           {"\"latent_var\": [1, 2, 3]", "\"latent_var\": [1, 2, 3, 4]", "3 numbers (z), got 4"},
           {"\"mel_max_hz\": 8000.0", "\"mel_max_hz\": 8001", "half of encoder_hz"},
           {"\"hop\": 160", "\"hop\": 401", "at most n_fft"},
           {"\"segment_samples\": 720000", "\"segment_samples\": 720001",
            "front_end.segment_samples"},
           {"\"frame_pad\": 240", "\"frame_pad\": 0", "240 (n_fft less hop), got 0"},
           {"\"chunk_mel_frames\": 16", "\"chunk_mel_frames\": 15", "2560 encoder samples"},
           {"\"window_positions\": 256", "\"window_positions\": 513", "limits.context"},
           {"\"limits\": {\"context\": 512", "\"limits\": {\"context\": 513", "backbone.context"},
           {"\"shape\": [21, 3]", "\"shape\": [3, 21]", "voices.plain.latents.shape"},
           {"\"shape\": [5]", "\"shape\": [6]", "24, as voices.plain.tokens.shape says, got 20"},
           {"\"shape\": [5]", "\"shape\": [1, 5]", "voices.plain.tokens.shape"},
           {"\"default_voice\": \"plain\"", "\"default_voice\": \"loud\"", "got \"loud\""},
           {"{\"system\": \"Be brief.\"}", "{}", "with \"system\""},
       }) {
    check_refused(change);
  }
}

TEST(manifest_ids_lie_in_the_vocabulary) {
  for (const Change& change : std::initializer_list<Change>{
           {"\"end\": [180, 181]", "\"end\": [180, 300]",
            "turns.end to be an id of the vocabulary, below 300"},
           {"\"end\": [180, 181]", "\"end\": []", "at least one id"},
           {"\"end\": [180, 181]", "\"end\": [-1]", "(key turns.end[0])"},
           {"\"close\": 180", "\"close\": 300", "turns.close"},
           {"\"<|think|>\": 191", "\"<|think|>\": 3000", "vocabulary.control.<|think|>"},
           {"\"audio_placeholder\": 190", "\"audio_placeholder\": 300", "audio_placeholder"},
           {"\"audio_codes\": 90", "\"audio_codes\": 101", "at most 100, got 101"},
           {"\"text_end\": 200", "\"text_end\": 201", "at most audio_begin"},
           {"\"audio_begin\": 200", "\"audio_begin\": 300", "vocabulary.audio_begin"},
           {"\"text_pad\": 194", "\"text_pad\": 300", "duplex.text_pad"},
           {"\"shift\": 192", "\"shift\": 191", "three ids, got 2"},
       }) {
    check_refused(change);
  }
}

TEST(manifest_plans_and_templates_fit) {
  for (const Change& change : std::initializer_list<Change>{
           {"\"next\": \"u {user} a\"", "\"next\": \"u a\"",
            "turns.next to be a template with {user} once"},
           {"\"next\": \"u {user} a\"", "\"next\": \"{system}{user}\"", "without {system}"},
           {"\"first\": \"s {system} u {user} a\"", "\"first\": \"{user}{user}\"", "turns.first"},
           {"[[\"think\", \"shift\"]]", "[]", "duplex.plans.listen to be at least one slot"},
           {"[[\"think\", \"shift\"]]", "[[\"any\"]]", "a plan with 0 audio slots"},
           {"[\"break\", \"text\", \"text_pad\"]", "[\"any\"]", "a plan with 4 audio slots"},
           {"\"codes_hz\": 25", "\"codes_hz\": 62501", "a whole number of codes per chunk"},
           {"[[\"think\", \"shift\"]]", "[[]]", "at least one kind"},
           {"[[\"think\", \"shift\"]]", "[[\"think\", \"shift\"], [\"audio\"]]", "0 audio slots"},
           {"\"speak\": [[\"break\", \"text\", \"text_pad\"],", "\"speak\": [[\"audio\"],",
            "4 audio slots"},
       }) {
    check_refused(change);
  }
  parsed(changed(manifest_text(), "\"speak\": [[\"break\", \"text\", \"text_pad\"], [\"audio\"],",
                 "\"speak\": [[\"break\"], [\"any\"],"));
}

TEST(manifest_graphs_and_states_fit) {
  for (const Change& change : std::initializer_list<Change>{
           {"\"vocoder\": {\"file\"", "\"singer\": {\"file\"",
            "a graph of this version's contract"},
           {"\"shape\": [1], \"initial\"", "\"shape\": [-1], \"initial\"", "of a fixed shape"},
           {"\"shape\": [1], \"initial\"",
            "\"shape\": [1000000000, 1000000000, 1000000000], \"initial\"",
            "at most 2^28 elements"},
           {"\"shape\": [1, -1]", "\"shape\": [1, 0]", "dimensions above 0"},
           {"\"shape\": [1, -1]", "\"shape\": [1, -2]", "from -1"},
           {"\"shape\": [1, -1]", "\"shape\": [1, 1, 1, 1, 1, 1, 1]", "at most 6 dimensions"},
           {"\"name\": \"features\"", "\"name\": \"state_out.filled\"", "without states"},
           {"\"name\": \"log_mel\"", "\"name\": \"state_in.filled\"", "without states"},
           {"\"inputs\": [{\"name\": \"x\", \"type\": \"f32\", \"shape\": [1, -1]}]",
            "\"inputs\": []", "at least one tensor"},
       }) {
    check_refused(change);
  }
}

TEST(manifest_is_read_from_its_folder) {
  const ScratchFolder folder;
  CHECK_THROWS_MSG(BundleError, "manifest.json, got none of that name",
                   read_manifest(folder.path()));
  folder.write("manifest.json", manifest_text());
  CHECK_EQ(read_manifest(folder.path()).name, "small");
  CHECK_EQ(read_manifest(folder.path()).document.find("limits")->find("context")->integer, 512);
  folder.write("manifest.json", "");
  CHECK_THROWS_MSG(BundleError, "got the end of the text", read_manifest(folder.path()));
  folder.write("manifest.json", manifest_text().substr(0, 700));
  CHECK_THROWS_MSG(BundleError, "[bundle.open] expected", read_manifest(folder.path()));
}

TEST(manifest_survives_truncation_at_every_byte) {
  const std::string text = manifest_text();
  for (std::size_t n = 0; n + 1 < text.size(); ++n) {
    CHECK_THROWS_MSG(BundleError, "[bundle.open] expected", parsed(text.substr(0, n)));
  }
}

// Random damage gives a manifest or a BundleError, never another exception or a crash.
TEST(manifest_survives_mutation) {
  const std::string good = manifest_text();
  std::mt19937 random(11);
  const char* pieces[] = {"-1",   "0",    "1e308",        "null", "{}", "[]",
                          "\"\"", "true", "999999999999", "[[",   "}",  ","};
  int accepted = 0;
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    const std::size_t at = random() % text.size();
    switch (random() % 4) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, 1 + random() % 40);
        break;
      case 2:
        text.insert(at, pieces[random() % std::size(pieces)]);
        break;
      default:
        text.insert(at, text.substr(random() % text.size(), random() % 60));
        break;
    }
    try {
      parsed(text);
      ++accepted;
    } catch (const BundleError&) {
      ++refused;
    }
  }
  CHECK(accepted > 0 && refused > accepted);
}

TEST(manifest_survives_random_bytes) {
  std::mt19937 random(12);
  for (int round = 0; round < 500; ++round) {
    std::string text(random() % 300, ' ');
    for (char& c : text) c = static_cast<char>(random());
    if (round % 2 == 0) text = "{\"schema_version\": 1, " + text;
    CHECK_THROWS_MSG(BundleError, "[bundle.open] expected", parsed(text));
  }
}
