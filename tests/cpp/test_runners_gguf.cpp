// The GGUF checker: what it accepts, and damaged, truncated, tampered and random files.
#include "runners/llama/gguf.h"

#include <cstring>
#include <functional>
#include <limits>
#include <random>

#include "check.h"
#include "parley/errors.hpp"
#include "runner_support.h"

using namespace parley;

namespace {

gguf::File read(const std::string& bytes) {
  const auto file = gguf::read(std::as_bytes(std::span(bytes)), "test.gguf");
  gguf::check_decoder(file, "test.gguf");
  return file;
}

// Builds files value by value, well formed or not.
class Builder {
 public:
  template <typename T>
  Builder& put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Builder& text(const std::string& value) {
    put<std::uint64_t>(value.size());
    bytes_ += value;
    return *this;
  }
  Builder& header(std::uint64_t tensors, std::uint64_t values, std::uint32_t version = 3) {
    bytes_ += "GGUF";
    return put(version).put(tensors).put(values);
  }
  Builder& tensor(const std::string& name, std::vector<std::uint64_t> dims, std::uint32_t type,
                  std::uint64_t offset) {
    text(name).put(static_cast<std::uint32_t>(dims.size()));
    for (std::uint64_t dim : dims) put(dim);
    return put(type).put(offset);
  }
  // Zeros up to the next multiple of 32, then `count` more.
  std::string with_data(std::size_t count) const {
    return bytes_ + std::string((32 - bytes_.size() % 32) % 32 + count, '\0');
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

gguf::File only_read(const std::string& bytes) {
  return gguf::read(std::as_bytes(std::span(bytes)), "test.gguf");
}

constexpr std::uint32_t kU32 = 4;
constexpr std::uint32_t kString = 8;
constexpr std::uint32_t kArray = 9;

std::string good_file() {
  return support::read_file(support::data("decoder_q8_0.gguf"));
}

// The position of a key's value type in the file.
std::size_t value_at(const std::string& file, const std::string& key) {
  const std::size_t found = file.find(key);
  if (found == std::string::npos) throw std::runtime_error("no key " + key);
  return found + key.size();
}

std::string with_number(std::string file, const std::string& key, std::uint32_t number) {
  std::memcpy(file.data() + value_at(file, key) + 4, &number, 4);
  return file;
}

}  // namespace

TEST(a_written_file_is_read_as_written) {
  const gguf::File file = read(good_file());
  CHECK_EQ(file.text("general.architecture"), "qwen2");
  CHECK_EQ(file.number("qwen2.embedding_length").value_or(0), 64);
  const gguf::Tensor* rows = file.tensor("token_embd.weight");
  REQUIRE(rows != nullptr);
  CHECK_EQ(rows->dims[0], 64U);
  CHECK_EQ(rows->dims[1], 64U);
  CHECK_EQ(rows->bytes, 64U * 68U);
  CHECK_EQ(rows->offset % 32, 0U);
  CHECK(file.tensor("no.such") == nullptr);
}

TEST(every_truncation_is_refused) {
  const std::string good = good_file();
  std::size_t step = 1;
  for (std::size_t n = 0; n < good.size(); n += step) {
    CHECK_THROWS_MSG(BundleError, "[gguf.read] expected", read(good.substr(0, n)));
    step = n < 4096 ? 7 : 977;
  }
  read(good);
}

TEST(wrong_headers_are_refused) {
  const std::string good = good_file();
  CHECK_THROWS_MSG(BundleError, "the magic GGUF", read("GGUX" + good.substr(4)));
  CHECK_THROWS_MSG(BundleError, "version 3", only_read(Builder().header(0, 0, 2).bytes()));
  CHECK_THROWS_MSG(BundleError, "tensors of at most",
                   only_read(Builder().header(std::uint64_t{1} << 40, 0).bytes()));
  CHECK_THROWS_MSG(BundleError, "values of at most",
                   only_read(Builder().header(0, ~std::uint64_t{0}).bytes()));
}

TEST(wrong_values_are_refused) {
  const auto refuse = [](const char* what, const Builder& file) {
    CHECK_THROWS_MSG(BundleError, what, only_read(file.bytes()));
  };
  const std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  refuse("a key of at most", Builder().header(0, 1).put(huge));
  refuse("an empty one", Builder().header(0, 1).text(""));
  refuse("a known type", Builder().header(0, 1).text("k").put<std::uint32_t>(13));
  refuse("a string of at most", Builder().header(0, 1).text("k").put(kString).put(huge));
  refuse("bytes of a string",
         Builder().header(0, 1).text("k").put(kString).put<std::uint64_t>(9).put('x'));
  refuse("an array of at most", Builder().header(0, 1).text("k").put(kArray).put(kU32).put(huge));
  refuse("bytes of", Builder().header(0, 1).text("k").put(kArray).put(kU32).put<std::uint64_t>(5));
  refuse("an array of arrays",
         Builder().header(0, 1).text("k").put(kArray).put(kArray).put<std::uint64_t>(1));
  refuse("0 or 1", Builder().header(0, 1).text("k").put<std::uint32_t>(7).put<char>(2));
  refuse("'k' twice", Builder().header(0, 2).text("k").put(kU32).put(1).text("k").put(kU32).put(1));
}

TEST(wrong_tensors_are_refused) {
  const auto refuse = [](const char* what, const Builder& file, std::size_t data) {
    CHECK_THROWS_MSG(BundleError, what, only_read(file.with_data(data)));
  };
  const auto one = [](std::vector<std::uint64_t> dims, std::uint32_t type, std::uint64_t offset) {
    return Builder().header(1, 0).tensor("a", std::move(dims), type, offset);
  };
  only_read(one({8}, 0, 0).with_data(32));
  refuse("a rank of 1 to 4", one({}, 0, 0), 32);
  refuse("a rank of 1 to 4", one({1, 1, 1, 1, 1}, 0, 0), 32);
  refuse("dimensions of 'a'", one({0}, 0, 0), 32);
  refuse("dimensions of 'a'", one({std::uint64_t{1} << 40, std::uint64_t{1} << 40}, 0, 0), 32);
  refuse("dimensions of 'a'", one({~std::uint64_t{0}}, 0, 0), 32);
  refuse("a known type of 'a'", one({8}, 4, 0), 32);
  refuse("in blocks of 32", one({33}, 8, 0), 64);
  refuse("a multiple of 32", one({8}, 0, 4), 64);
  refuse("inside 32 bytes", one({9}, 0, 0), 32);
  refuse("inside 32 bytes", one({8}, 0, 32), 32);
  refuse("inside 32 bytes", one({8}, 0, ~std::uint64_t{31}), 32);
  refuse("a tensor's name of at most",
         Builder().header(1, 0).tensor(std::string(64, 'n'), {8}, 0, 0), 32);
  refuse("'a' twice", Builder().header(2, 0).tensor("a", {8}, 0, 0).tensor("a", {8}, 0, 32), 64);
  refuse("reaching into", Builder().header(2, 0).tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32),
         64);
  refuse("reaching into", Builder().header(2, 0).tensor("a", {8}, 0, 0).tensor("b", {8}, 0, 0), 64);
}

TEST(a_part_of_several_files_is_refused) {
  const auto file = Builder().header(0, 1).text("split.count").put(kU32).put(2).bytes();
  CHECK_THROWS_MSG(BundleError, "one whole file", read(file));
}

TEST(the_alignment_is_a_power_of_two) {
  const auto aligned = [](std::uint32_t alignment) {
    return Builder().header(0, 1).text("general.alignment").put(kU32).put(alignment).bytes();
  };
  only_read(aligned(64));
  for (std::uint32_t bad : {0U, 3U, 48U, 1U << 20U}) {
    CHECK_THROWS_MSG(BundleError, "a power of two", only_read(aligned(bad)));
  }
  const auto text = Builder().header(0, 1).text("general.alignment").put(kString).text("32");
  CHECK_THROWS_MSG(BundleError, "a power of two", only_read(text.bytes()));
}

TEST(sizes_that_do_not_agree_are_refused) {
  const std::string good = good_file();
  const auto refuse = [&good](const char* key, std::uint32_t number, const char* what) {
    CHECK_THROWS_MSG(BundleError, what, read(with_number(good, key, number)));
  };
  refuse("qwen2.attention.head_count", 0, "qwen2.attention.head_count");
  refuse("qwen2.attention.head_count", 3, "whole");
  refuse("qwen2.attention.head_count_kv", 0, "head_count_kv");
  refuse("qwen2.attention.head_count_kv", 4, "whole groups");
  refuse("qwen2.block_count", 0, "qwen2.block_count");
  refuse("qwen2.block_count", 1U << 30U, "qwen2.block_count");
  refuse("qwen2.embedding_length", 128, "token_embd.weight of 64 rows of 128");
  refuse("qwen2.context_length", 0, "context_length");
  refuse("qwen2.feed_forward_length", 0, "feed_forward_length");
  refuse("qwen2.rope.freq_base", 0x7fc00000, "rope.freq_base");  // NaN
  refuse("qwen2.rope.freq_base", 0, "rope.freq_base");
}

TEST(another_architecture_or_tokenizer_list_is_refused) {
  std::string file = good_file();
  file.replace(value_at(file, "general.architecture") + 4 + 8, 5, "mamba");
  CHECK_THROWS_MSG(BundleError, "got 'mamba'", read(file));
  file = good_file();
  file[value_at(file, "tokenizer.ggml.tokens") - 1] = 'z';  // the key's last letter
  CHECK_THROWS_MSG(BundleError, "the list 'tokenizer.ggml.tokens'", read(file));
  file = good_file();
  file[file.find("<|unused_60|>") + 10] = '1';  // llama.cpp aborts where a token comes twice
  CHECK_THROWS_MSG(BundleError, "'<|unused_61|>' twice", read(file));
  file = good_file();
  file[value_at(file, "tokenizer.ggml.token_type") + 4] = 6;  // f32 instead of i32
  CHECK_THROWS_MSG(BundleError, "tokenizer.ggml.token_type", read(file));
}

// Whatever the bytes, the checker either reads them or throws BundleError; the sanitizers watch.
TEST(random_bytes_never_do_worse_than_an_error) {
  std::mt19937 random(3);
  const std::string good = good_file();
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string file = good;
    const bool noise = i % 3 == 0;
    if (noise) file = file.substr(0, 24) + std::string(500, '\0');
    const std::size_t changes = noise ? 500 : 1 + random() % 4;
    for (std::size_t c = 0; c < changes; ++c) {
      const std::size_t at = noise ? 24 + c : random() % 3000;
      file[at] = static_cast<char>(random());
    }
    try {
      read(file);
    } catch (const BundleError&) {
      ++refused;
    }
  }
  CHECK(refused > 1000);
}
