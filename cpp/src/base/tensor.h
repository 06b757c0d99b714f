// Views of dense tensors in memory that somebody else owns; knows no library and allocates nothing.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace parley {

enum class DType : std::uint8_t { f32, i64, f16 };

constexpr std::size_t size_of(DType type) {
  return type == DType::i64 ? 8 : type == DType::f32 ? 4 : 2;
}

constexpr const char* name_of(DType type) {
  return type == DType::i64 ? "i64" : type == DType::f32 ? "f32" : "f16";
}

// Up to six dimensions, held in place so that a view never allocates.
struct Shape {
  static constexpr int kMaxRank = 6;
  std::array<std::int64_t, kMaxRank> dims{};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> list) {
    for (std::int64_t d : list) dims[static_cast<std::size_t>(rank++)] = d;
  }
  std::int64_t operator[](int i) const { return dims[static_cast<std::size_t>(i)]; }
  std::int64_t count() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[static_cast<std::size_t>(i)];
    return n;
  }
};

// Row-major and contiguous. The owner of `data` outlives the view.
struct TensorView {
  void* data = nullptr;
  DType type = DType::f32;
  Shape shape;
};

inline TensorView view(float* data, Shape shape) {
  return {data, DType::f32, shape};
}
inline TensorView view(std::int64_t* data, Shape shape) {
  return {data, DType::i64, shape};
}
// Graph inputs are never written; the cast lets one view type serve inputs and outputs.
inline TensorView view(const float* data, Shape shape) {
  return {const_cast<float*>(data), DType::f32, shape};
}
inline TensorView view(const std::int64_t* data, Shape shape) {
  return {const_cast<std::int64_t*>(data), DType::i64, shape};
}

// What a graph or a manifest says of one tensor; -1 is a free dimension.
struct TensorSpec {
  std::string name;
  DType type = DType::f32;
  std::vector<std::int64_t> shape;
};

// Of at most Shape::kMaxRank dimensions.
inline Shape shape_of(std::span<const std::int64_t> dims) {
  Shape shape;
  for (std::int64_t d : dims) shape.dims[static_cast<std::size_t>(shape.rank++)] = d;
  return shape;
}

}  // namespace parley
