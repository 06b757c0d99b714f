// Reads and checks a GGUF file's structure before llama.cpp sees it; calls no library.
//
// llama.cpp aborts the process on some damaged files, and reads outside the file on others. What
// passes here is well formed, lies inside the file, and has the sizes that its own metadata states.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace parley::gguf {

enum class ValueType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

// A scalar, a string or an array; of arrays of numbers only element type and length are kept.
struct Value {
  ValueType type = ValueType::u8;
  double number = 0.0;  // exact for every integer below 2^53
  std::string text;
  ValueType element = ValueType::u8;
  std::uint64_t count = 0;
  std::vector<std::string_view> strings;  // of an array of strings, in the file's bytes
};

// How a tensor type packs its elements: `bytes` for every `elements` along a row.
struct Packing {
  std::uint32_t type = 0;  // ggml's number
  std::uint32_t elements = 1;
  std::uint32_t bytes = 1;
};

struct Tensor {
  std::string name;
  std::uint32_t type = 0;
  std::array<std::uint64_t, 4> dims{1, 1, 1, 1};  // dims[0] is a row's length
  int rank = 0;
  std::uint64_t offset = 0;  // from the file's start
  std::uint64_t bytes = 0;
};

struct File {
  std::map<std::string, Value> values;
  std::vector<Tensor> tensors;

  const Tensor* tensor(const std::string& name) const;  // null where there is none
  std::optional<double> number(const std::string& key) const;
  std::string text(const std::string& key) const;  // empty where there is none
};

// Throws BundleError naming `name` and the first thing that is wrong. `bytes` outlives the result.
File read(std::span<const std::byte> bytes, const std::string& name);

// Checks that a file that read() accepted describes a decoder whose sizes agree: architecture,
// layers, heads, tokenizer and token_embd.weight. Throws BundleError.
void check_decoder(const File& file, const std::string& name);

}  // namespace parley::gguf
