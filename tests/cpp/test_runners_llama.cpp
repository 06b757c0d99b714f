// The llama.cpp model against the real library: rows, tokenizer, and files or libraries to refuse.
#include <cstring>

#include "check.h"
#include "llama_support.h"
#include "parley/errors.hpp"
#include "runners/llama/gguf.h"
#include "scratch_folder.h"

using namespace parley;
using namespace support;

namespace {

float from_half(std::uint16_t bits) {
  const int exponent = bits >> 10U & 31;
  const int mantissa = bits & 1023;
  const double value =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>((bits & 0x8000U) != 0 ? -value : value);
}

}  // namespace

TEST(a_model_says_its_sizes) {
  support::need(kLlama);
  const auto model = open_decoder();
  CHECK_EQ(model->vocab_size(), 64);
  CHECK_EQ(model->width(), 64);
}

TEST(embedding_rows_are_those_of_the_file) {
  support::need(kLlama);
  const auto model = open_decoder();
  const std::vector<float> rows = rows_of(*model, {0, 63, 5});
  const int ids[] = {0, 63, 5};
  for (int r = 0; r < 3; ++r) {
    for (int i = 0; i < 64; ++i) {
      const int at = ids[r] * 64 + i;
      CHECK_EQ(rows[static_cast<std::size_t>(r * 64 + i)],
               static_cast<float>(at * 37 % 256 - 128) / 128.0F);
    }
  }
}

TEST(packed_embedding_rows_are_unpacked) {
  support::need(kLlama);
  CHECK(rows_of(*open_decoder("decoder_f16.gguf"), {7, 8}) == rows_of(*open_decoder(), {7, 8}));
  const auto model = open_decoder("decoder_q8_0.gguf");
  const std::string bytes = support::read_file(support::data("decoder_q8_0.gguf"));
  const gguf::File file = gguf::read(std::as_bytes(std::span(bytes)), "decoder_q8_0.gguf");
  const std::int32_t id = 41;
  const std::vector<float> row = rows_of(*model, {id});
  const char* at = bytes.data() + file.tensor("token_embd.weight")->offset + id * 68;
  for (std::size_t i = 0; i < 64; ++i) {  // blocks of a half-precision scale and 32 bytes
    const char* block = at + i / 32 * 34;
    std::uint16_t scale = 0;
    std::memcpy(&scale, block, 2);
    CHECK_EQ(row[i],
             from_half(scale) * static_cast<float>(static_cast<signed char>(block[2 + i % 32])));
  }
}

TEST(ids_outside_the_vocabulary_are_refused) {
  support::need(kLlama);
  const auto model = open_decoder();
  CHECK_THROWS_MSG(InputError, "from 0 to 63, got 64", rows_of(*model, {1, 64}));
  CHECK_THROWS_MSG(InputError, "got -1", rows_of(*model, {-1}));
  std::vector<float> small(3);
  const std::int32_t ids[] = {1};
  CHECK_THROWS_MSG(InputError, "room for 1 rows of 64", model->embed(ids, small));
  char bytes[8];
  CHECK_THROWS_MSG(InputError, "got 64", model->piece(64, bytes));
}

TEST(text_goes_to_ids_and_back) {
  support::need(kLlama);
  const auto model = open_decoder();
  for (const std::string text : {"hello the world, on", "the\nthe", "caf\xC3\xA9", ""}) {
    std::string back;
    for (std::int32_t id : model->tokenize(text, false)) {
      char bytes[32];
      back.append(bytes, model->piece(id, bytes));
    }
    CHECK_EQ(back, text);
  }
  CHECK(model->tokenize("a the", false).size() == 2U);  // " the" is one piece
  char none[1];
  const auto the = model->tokenize("the", false);
  CHECK_EQ(model->piece(the.at(0), none), 3U);
}

TEST(special_names_are_ids_only_where_asked) {
  support::need(kLlama);
  const auto model = open_decoder();
  const std::string names = "<|end|>a<|a_1|><|a_0|>";
  const auto special = model->tokenize(names, true);
  REQUIRE(special.size() == 4U);
  char bytes[32];
  CHECK_EQ(model->piece(special[0], bytes), 0U);  // a control id has no text
  CHECK_EQ(model->piece(special[1], bytes), 1U);
  std::string plain;
  const auto ids = model->tokenize(names, false);
  for (std::int32_t id : ids) {
    CHECK(std::find(special.begin(), special.end(), id) == special.end() || id == special[1]);
    plain.append(bytes, model->piece(id, bytes));
  }
  // The letters and signs of the names, but for digits, which this vocabulary lacks.
  CHECK_EQ(plain, "<|end|>a<|a_|><|a_|>");
}

TEST(odd_text_gives_ids_or_one_error) {
  support::need(kLlama);
  const auto model = open_decoder();
  for (const std::string text : {"\xC3", "\xFF\xFE", "\xF0\x9F\x98", "\xED\xA0\x80"}) {
    try {
      for (std::int32_t id : model->tokenize("a" + text + "b", false)) CHECK(id >= 0 && id < 64);
    } catch (const InputError&) {
    }
  }
  const auto zero = model->tokenize(std::string("a\0b", 3), true);
  CHECK(zero.size() >= 2U);
}

TEST(damaged_models_are_bundle_errors) {
  support::need(kLlama);
  const ScratchFolder folder;
  const std::string good = support::read_file(support::data("decoder_f32.gguf"));
  const auto try_open = [&folder](const std::string& bytes) {
    folder.write("bad.gguf", bytes);
    open_token_model("", folder.path() / "bad.gguf");
  };
  try_open(good);
  CHECK_THROWS_MSG(BundleError, "bad.gguf", try_open(good.substr(0, good.size() - 40)));
  CHECK_THROWS_MSG(BundleError, "bad.gguf", try_open(""));
  std::string renamed = good;
  renamed[renamed.find("blk.0.attn_q.weight")] = 'x';  // well formed, but llama.cpp misses it
  CHECK_THROWS_MSG(BundleError, "blk.0.attn_q.weight", try_open(renamed));
  std::string tokenizer = good;
  tokenizer.replace(tokenizer.find("qwen2", tokenizer.find("tokenizer.ggml.pre")), 5, "other");
  CHECK_THROWS_MSG(BundleError, "[llama.open]", try_open(tokenizer));
  CHECK_THROWS_MSG(BundleError, "none.gguf", open_token_model("", folder.path() / "none.gguf"));
}

TEST(a_gpu_that_the_library_lacks_is_a_library_error) {
  support::need(kLlama);
  if (llama_has_gpu("")) throw check::Skip{"this llama.cpp was built for a GPU"};
  CHECK_THROWS_MSG(LibraryError, "GGML_CUDA=on",
                   open_token_model("", support::data("decoder_f32.gguf"), {.device = "cuda"}));
  CHECK_THROWS_MSG(InputError, "got 'npu'",
                   open_token_model("", support::data("decoder_f32.gguf"), {.device = "npu"}));
}

TEST(other_libraries_are_refused) {
  CHECK_THROWS_MSG(LibraryError, "/nowhere/libllama.so", llama_version_of("/nowhere/libllama.so"));
  const std::string old = support::stub("stub_llama_old");
  CHECK_THROWS_MSG(LibraryError, "expected llama.cpp 0.5.0-dev", llama_version_of(old));
  CHECK_THROWS_MSG(LibraryError, "got 0.4.9 with ggml 0.24.0", llama_version_of(old));
  CHECK_THROWS_MSG(LibraryError, "llama-cpp-python 0.3.36", llama_version_of(old));
  CHECK_THROWS_MSG(LibraryError, "a library without llama_version",
                   llama_version_of(support::stub("stub_onnxruntime_old")));
  CHECK_THROWS_MSG(LibraryError, "the structs",
                   llama_version_of(support::stub("stub_llama_structs")));
}

// A folder with a libllama that loads its code at run time, and variants with these scores.
void write_library(const ScratchFolder& folder, const std::vector<std::string>& scores) {
  const auto copy = [&folder](const char* stub, const std::string& name) {
    std::filesystem::copy_file(support::stub(stub), folder.path() / name);
  };
  copy("stub_llama_dl", "libllama.so");
  copy("stub_ggml_variant", "libggml-base.so");  // never asked
  for (const std::string& score : scores) {
    copy("stub_ggml_variant", "libggml-cpu-" + score + ".so");
  }
}

std::string name_of(const std::string& file) {
  return std::filesystem::path(file).filename().string();
}

TEST(the_best_variant_for_this_processor_is_taken) {
  const ScratchFolder folder;
  write_library(folder, {"7", "0", "30", "9"});
  const std::string library = (folder.path() / "libllama.so").string();
  std::vector<std::string> names;
  for (const std::string& file : llama_variants(library)) names.push_back(name_of(file));
  CHECK(names ==
        std::vector<std::string>({"libggml-cpu-30.so", "libggml-cpu-9.so", "libggml-cpu-7.so"}));
  CHECK_EQ(name_of(llama_variant_of(library)), "libggml-cpu-30.so");
}

TEST(a_variant_may_be_named_instead_of_the_library) {
  const ScratchFolder folder;
  write_library(folder, {"7", "30"});
  const std::string seven = (folder.path() / "libggml-cpu-7.so").string();
  CHECK_EQ(llama_variant_of(seven), seven);
  CHECK_EQ(llama_variant_of((folder.path() / "libllama.so").string()), seven);
  CHECK_THROWS_MSG(LibraryError, "which this process has opened already",
                   llama_version_of((folder.path() / "libggml-cpu-30.so").string()));
}

TEST(a_library_without_code_for_this_processor_is_a_library_error) {
  for (const std::vector<std::string>& scores : {std::vector<std::string>{}, {"0"}}) {
    const ScratchFolder folder;
    write_library(folder, scores);
    const std::string library = (folder.path() / "libllama.so").string();
    CHECK_THROWS_MSG(LibraryError, "expected code for this processor", llama_version_of(library));
    CHECK_THROWS_MSG(LibraryError, "expected code for this processor",
                     open_token_model(library, support::data("decoder_f32.gguf")));
  }
  const ScratchFolder folder;
  write_library(folder, {"0"});
  CHECK_THROWS_MSG(LibraryError, "libggml-cpu-0.so",
                   llama_version_of((folder.path() / "libggml-cpu-0.so").string()));
}

TEST(the_version_is_told) {
  support::need(kLlama);
  CHECK_EQ(llama_version_of(""), "0.5.0-dev");
}
