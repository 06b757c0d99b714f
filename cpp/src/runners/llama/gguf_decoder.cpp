// What a decoder's metadata must hold so that llama.cpp neither aborts nor divides by zero on it.
#include <algorithm>

#include "parley/errors.hpp"
#include "runners/llama/gguf.h"

namespace parley::gguf {
namespace {

// Decoders whose values are named alike; each new one needs a look at its own keys.
constexpr const char* kArchitectures[] = {"qwen2", "qwen3", "llama"};

class Decoder {
 public:
  Decoder(const File& file, const std::string& name) : file_(file), name_(name) {}

  void check() {
    check_architecture();
    check_sizes();
    check_vocabulary();
  }

 private:
  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    throw BundleError("[gguf.check] expected " + expected + " in '" + name_ + "', got " + got +
                      "; export the bundle again");
  }

  void check_architecture() {
    // llama.cpp would go on to open other files, whose names it makes from this one's.
    if (file_.number("split.count").value_or(0) > 1) fail("one whole file", "a part of several");
    architecture_ = file_.text("general.architecture");
    for (const char* known : kArchitectures) {
      if (architecture_ == known) return;
    }
    fail("the architecture qwen2, qwen3 or llama", "'" + architecture_ + "'");
  }

  // A whole number in [1, most] of the type that llama.cpp reads; `absent` where the key is not
  // there, and -1 there means that it must be.
  std::uint64_t whole(const std::string& key, std::uint64_t most, std::int64_t absent = -1) const {
    const std::string full = architecture_ + "." + key;
    const auto found = file_.values.find(full);
    if (found == file_.values.end() && absent >= 0) return static_cast<std::uint64_t>(absent);
    if (found == file_.values.end()) fail("the value '" + full + "'", "none");
    const Value& value = found->second;
    if (value.type != ValueType::u32 || value.number < 1 ||
        value.number > static_cast<double>(most)) {
      fail("'" + full + "' to be a u32 from 1 to " + std::to_string(most),
           value.type == ValueType::u32 ? std::to_string(std::uint64_t(value.number))
                                        : "another type");
    }
    return static_cast<std::uint64_t>(value.number);
  }

  void check_real(const std::string& key, double least, double most) const {
    const std::string full = architecture_ + "." + key;
    const auto found = file_.values.find(full);
    if (found == file_.values.end()) return;
    const Value& value = found->second;
    // Written so that a NaN fails.
    if (value.type != ValueType::f32 || !(value.number >= least && value.number <= most)) {
      fail("'" + full + "' to be an f32 from " + std::to_string(least) + " to " +
               std::to_string(most),
           std::to_string(value.number));
    }
  }

  void check_sizes() {
    constexpr std::uint64_t kMost = 1 << 20;
    width_ = whole("embedding_length", kMost);
    whole("block_count", 512);
    whole("context_length", 1 << 30);
    whole("feed_forward_length", 1 << 24);
    const std::uint64_t heads = whole("attention.head_count", 1 << 16);
    const std::uint64_t kv_heads =
        whole("attention.head_count_kv", 1 << 16, static_cast<std::int64_t>(heads));
    if (heads % kv_heads != 0) {
      fail("heads in whole groups per key head",
           std::to_string(heads) + " heads over " + std::to_string(kv_heads));
    }
    // Without a head's width the heads share the decoder's.
    const auto head = static_cast<std::int64_t>(width_ % heads == 0 ? width_ / heads : 0);
    const std::uint64_t key_width = whole("attention.key_length", kMost, head);
    const std::uint64_t value_width = whole("attention.value_length", kMost, head);
    if (key_width < 1 || value_width < 1) {
      fail("a width in whole heads",
           std::to_string(width_) + " over " + std::to_string(heads) + " heads");
    }
    const std::uint64_t rotary =
        whole("rope.dimension_count", kMost, static_cast<std::int64_t>(key_width));
    if (key_width % 2 != 0 || rotary % 2 != 0 || rotary > key_width) {
      fail("an even head size that holds the rotated dimensions",
           std::to_string(key_width) + " and " + std::to_string(rotary));
    }
    check_real("rope.freq_base", 1.0, 1e12);
    check_real("rope.scaling.factor", 1e-3, 1e3);
    check_real("attention.layer_norm_rms_epsilon", 0.0, 1.0);
  }

  // An array of `element`; its length where it is there, 0 where it may be missing.
  std::uint64_t array(const std::string& key, ValueType element, bool required) const {
    const auto found = file_.values.find(key);
    if (found == file_.values.end() && !required) return 0;
    if (found == file_.values.end()) fail("the list '" + key + "'", "none");
    if (found->second.type != ValueType::array || found->second.element != element) {
      fail("'" + key + "' to be a list of another type", "the wrong one");
    }
    return found->second.count;
  }

  void check_vocabulary() const {
    const std::uint64_t tokens = array("tokenizer.ggml.tokens", ValueType::string, true);
    const std::uint64_t types = array("tokenizer.ggml.token_type", ValueType::i32, false);
    const std::uint64_t scores = array("tokenizer.ggml.scores", ValueType::f32, false);
    array("tokenizer.ggml.merges", ValueType::string, false);
    if (tokens == 0 || (types != 0 && types != tokens) || (scores != 0 && scores != tokens)) {
      fail("one type (and score) per token",
           std::to_string(tokens) + " tokens and " + std::to_string(types) + " types");
    }
    // llama.cpp aborts where two ids have one text.
    std::vector<std::string_view> texts = file_.values.at("tokenizer.ggml.tokens").strings;
    std::sort(texts.begin(), texts.end());
    const auto twice = std::adjacent_find(texts.begin(), texts.end());
    if (twice != texts.end()) fail("every token once", "'" + std::string(*twice) + "' twice");
    const Tensor* rows = file_.tensor("token_embd.weight");
    if (rows == nullptr || rows->rank != 2 || rows->dims[0] != width_ || rows->dims[1] != tokens) {
      fail("token_embd.weight of " + std::to_string(tokens) + " rows of " + std::to_string(width_),
           rows == nullptr
               ? "none"
               : std::to_string(rows->dims[1]) + " of " + std::to_string(rows->dims[0]));
    }
  }

  const File& file_;
  const std::string& name_;
  std::string architecture_;
  std::uint64_t width_ = 0;
};

}  // namespace

void check_decoder(const File& file, const std::string& name) {
  Decoder(file, name).check();
}

}  // namespace parley::gguf
