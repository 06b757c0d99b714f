// The GGUF container: header, values, tensor table and extents; knows no architecture.
#include "runners/llama/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "parley/errors.hpp"

namespace parley::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies in memory");

constexpr std::uint64_t kMostTensors = 1 << 16;
constexpr std::uint64_t kMostValues = 1 << 16;
constexpr std::uint64_t kLongestKey = (1 << 16) - 1;
constexpr std::uint64_t kLongestString = 1 << 26;
constexpr std::uint64_t kLongestTensorName = 63;  // ggml keeps 64 bytes with the closing zero
constexpr std::uint64_t kLongestArray = 1 << 26;
constexpr std::uint64_t kMostElements = std::uint64_t{1} << 48;
constexpr std::uint64_t kLargestAlignment = 1 << 16;

// The types that parley's exporter and llama.cpp's quantizer write into a backbone.
constexpr Packing kPackings[] = {
    {0, 1, 4},       // f32
    {1, 1, 2},       // f16
    {30, 1, 2},      // bf16
    {2, 32, 18},     // q4_0
    {3, 32, 20},     // q4_1
    {6, 32, 22},     // q5_0
    {7, 32, 24},     // q5_1
    {8, 32, 34},     // q8_0
    {10, 256, 84},   // q2_k
    {11, 256, 110},  // q3_k
    {12, 256, 144},  // q4_k
    {13, 256, 176},  // q5_k
    {14, 256, 210},  // q6_k
    {20, 32, 18},    // iq4_nl
    {23, 256, 136},  // iq4_xs
};

std::uint64_t size_of(ValueType type) {
  switch (type) {
    case ValueType::u8:
    case ValueType::i8:
    case ValueType::boolean:
      return 1;
    case ValueType::u16:
    case ValueType::i16:
      return 2;
    case ValueType::u32:
    case ValueType::i32:
    case ValueType::f32:
      return 4;
    case ValueType::u64:
    case ValueType::i64:
    case ValueType::f64:
      return 8;
    case ValueType::string:
    case ValueType::array:
      return 0;
  }
  return 0;
}

// Walks through the bytes; every read is checked against the file's end.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    throw BundleError("[gguf.read] expected " + expected + " in '" + name_ + "' at byte " +
                      std::to_string(at_) + ", got " + got + "; export the bundle again");
  }

  std::uint64_t at() const { return at_; }
  std::uint64_t left() const { return bytes_.size() - at_; }

  template <typename T>
  T take(const char* what) {
    need(sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }

  std::uint64_t take_count(const char* what, std::uint64_t most) {
    const auto count = take<std::uint64_t>(what);
    if (count > most) fail(what + (" of at most " + std::to_string(most)), std::to_string(count));
    return count;
  }

  std::string_view take_string(const char* what, std::uint64_t longest) {
    const std::uint64_t length = take_count(what, longest);
    need(length, what);
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + at_), length);
    at_ += length;
    return text;
  }

  ValueType take_type(const char* what) {
    const auto type = take<std::uint32_t>(what);
    if (type > static_cast<std::uint32_t>(ValueType::f64)) {
      fail(what + std::string(" of a known type"), "type " + std::to_string(type));
    }
    return static_cast<ValueType>(type);
  }

  double take_number(ValueType type) {
    const char* what = "a number";
    switch (type) {
      case ValueType::u8:
        return take<std::uint8_t>(what);
      case ValueType::i8:
        return take<std::int8_t>(what);
      case ValueType::u16:
        return take<std::uint16_t>(what);
      case ValueType::i16:
        return take<std::int16_t>(what);
      case ValueType::u32:
        return take<std::uint32_t>(what);
      case ValueType::i32:
        return take<std::int32_t>(what);
      case ValueType::f32:
        return double{take<float>(what)};
      case ValueType::boolean:
        return take_boolean();
      case ValueType::u64:
        return static_cast<double>(take<std::uint64_t>(what));
      case ValueType::i64:
        return static_cast<double>(take<std::int64_t>(what));
      case ValueType::f64:
        return take<double>(what);
      case ValueType::string:
      case ValueType::array:
        break;
    }
    fail(what, "a value that is none");
  }

  void skip(std::uint64_t count, const char* what) {
    need(count, what);
    at_ += count;
  }

 private:
  void need(std::uint64_t count, const char* what) const {
    if (count > left()) {
      fail(std::to_string(count) + " bytes of " + what, std::to_string(left()) + " to its end");
    }
  }

  double take_boolean() {
    const auto value = take<std::uint8_t>("a boolean");
    if (value > 1) fail("a boolean of 0 or 1", std::to_string(value));
    return value;
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  std::uint64_t at_ = 0;
};

void read_array(Reader& reader, Value& value) {
  value.element = reader.take_type("an array");
  if (value.element == ValueType::array) reader.fail("an array of scalars", "an array of arrays");
  value.count = reader.take_count("an array", kLongestArray);
  if (value.element == ValueType::string) {
    for (std::uint64_t i = 0; i < value.count; ++i) {
      value.strings.push_back(reader.take_string("a string of an array", kLongestString));
    }
  } else {
    reader.skip(value.count * size_of(value.element), "an array");
  }
}

void read_value(Reader& reader, File& file) {
  const std::string key(reader.take_string("a key", kLongestKey));
  if (key.empty()) reader.fail("a key", "an empty one");
  Value value;
  value.type = reader.take_type("a value");
  if (value.type == ValueType::array) {
    read_array(reader, value);
  } else if (value.type == ValueType::string) {
    value.text = reader.take_string("a string", kLongestString);
  } else {
    value.number = reader.take_number(value.type);
  }
  if (!file.values.emplace(key, std::move(value)).second) {
    reader.fail("every key once", "'" + key + "' twice");
  }
}

const Packing* packing_of(std::uint32_t type) {
  const auto* found = std::find_if(std::begin(kPackings), std::end(kPackings),
                                   [type](const Packing& p) { return p.type == type; });
  return found == std::end(kPackings) ? nullptr : found;
}

// The tensor's offset is still counted from the start of the data.
Tensor read_tensor(Reader& reader) {
  Tensor tensor;
  tensor.name = reader.take_string("a tensor's name", kLongestTensorName);
  const auto rank = reader.take<std::uint32_t>("a tensor's rank");
  if (tensor.name.empty()) reader.fail("a tensor's name", "an empty one");
  if (rank < 1 || rank > 4) reader.fail("a rank of 1 to 4", std::to_string(rank));
  tensor.rank = static_cast<int>(rank);
  std::uint64_t elements = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    tensor.dims[i] = reader.take<std::uint64_t>("a tensor's dimension");
    if (tensor.dims[i] == 0 || tensor.dims[i] > kMostElements / elements) {
      reader.fail("dimensions of '" + tensor.name + "' above 0 and at most 2^48 elements",
                  std::to_string(tensor.dims[i]));
    }
    elements *= tensor.dims[i];
  }
  tensor.type = reader.take<std::uint32_t>("a tensor's type");
  const Packing* packing = packing_of(tensor.type);
  if (packing == nullptr) {
    reader.fail("a known type of '" + tensor.name + "'", "type " + std::to_string(tensor.type));
  }
  if (tensor.dims[0] % packing->elements != 0) {
    reader.fail("rows of '" + tensor.name + "' in blocks of " + std::to_string(packing->elements),
                std::to_string(tensor.dims[0]) + " elements");
  }
  tensor.bytes = elements / packing->elements * packing->bytes;
  tensor.offset = reader.take<std::uint64_t>("a tensor's offset");
  return tensor;
}

std::uint64_t alignment_of(const Reader& reader, const File& file) {
  const auto found = file.values.find("general.alignment");
  if (found == file.values.end()) return 32;
  const Value& value = found->second;
  const auto alignment = static_cast<std::uint64_t>(value.number);
  if (value.type != ValueType::u32 || !std::has_single_bit(alignment) ||
      alignment > kLargestAlignment) {
    reader.fail("an alignment that is a power of two up to 65536", std::to_string(alignment));
  }
  return alignment;
}

// Turns offsets into positions in the file and checks that no two tensors overlap.
void place_tensors(const Reader& reader, File& file, std::uint64_t file_bytes) {
  const std::uint64_t alignment = alignment_of(reader, file);
  const std::uint64_t start = (reader.at() + alignment - 1) / alignment * alignment;
  std::vector<const Tensor*> order;
  std::set<std::string> names;
  for (Tensor& tensor : file.tensors) {
    const std::uint64_t room = file_bytes > start ? file_bytes - start : 0;
    if (tensor.offset % alignment != 0) {
      reader.fail(
          "the offset of '" + tensor.name + "' to be a multiple of " + std::to_string(alignment),
          std::to_string(tensor.offset));
    }
    if (tensor.offset > room || tensor.bytes > room - tensor.offset) {
      reader.fail(std::to_string(tensor.bytes) + " bytes of '" + tensor.name + "' inside " +
                      std::to_string(room) + " bytes of data",
                  "an end beyond them");
    }
    if (!names.insert(tensor.name).second) {
      reader.fail("every tensor once", "'" + tensor.name + "' twice");
    }
    tensor.offset += start;
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(),
            [](const Tensor* a, const Tensor* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset) {
      reader.fail("tensors that do not overlap",
                  "'" + order[i - 1]->name + "' reaching into '" + order[i]->name + "'");
    }
  }
}

}  // namespace

const Tensor* File::tensor(const std::string& name) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&name](const Tensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

std::optional<double> File::number(const std::string& key) const {
  const auto found = values.find(key);
  if (found == values.end()) return std::nullopt;
  const Value& value = found->second;
  if (value.type == ValueType::string || value.type == ValueType::array) return std::nullopt;
  return value.number;
}

std::string File::text(const std::string& key) const {
  const auto found = values.find(key);
  return found == values.end() ? "" : found->second.text;
}

File read(std::span<const std::byte> bytes, const std::string& name) {
  Reader reader(bytes, name);
  constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
  if (reader.take<std::uint32_t>("the magic") != kMagic) reader.fail("the magic GGUF", "another");
  const auto version = reader.take<std::uint32_t>("the version");
  if (version != 3) reader.fail("version 3", std::to_string(version));
  const std::uint64_t n_tensors = reader.take_count("tensors", kMostTensors);
  const std::uint64_t n_values = reader.take_count("values", kMostValues);
  File file;
  for (std::uint64_t i = 0; i < n_values; ++i) read_value(reader, file);
  for (std::uint64_t i = 0; i < n_tensors; ++i) file.tensors.push_back(read_tensor(reader));
  place_tensors(reader, file, bytes.size());
  return file;
}

}  // namespace parley::gguf
