// Graphs of a flow decoder whose outputs follow formulas; knows no reply and no stream.
#pragma once
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "fake_runners.h"

namespace fake {

// Flow decoder. Each frame's features depend on a code and its neighbours.
inline std::shared_ptr<Graph> flow_condition(std::int64_t hidden, std::int64_t factor) {
  return std::make_shared<Graph>(
      std::vector<TensorSpec>{{"codes", DType::i64, {1, -1}}},
      std::vector<TensorSpec>{{"token_features", DType::f32, {1, -1, hidden}}},
      [=](Tensors in, Tensors out) {
        const std::int64_t n = in[0].shape[1];
        const std::int64_t* codes = ints(in[0]);
        for (std::int64_t t = 0; t < n * factor; ++t) {
          const std::int64_t i = t / factor;
          const auto before = static_cast<float>(i > 0 ? codes[i - 1] : 0);
          const auto behind = static_cast<float>(i + 1 < n ? codes[i + 1] : 0);
          for (std::int64_t c = 0; c < hidden; ++c) {
            floats_out(out[0])[t * hidden + c] =
                std::sin(static_cast<float>(codes[i] * (c + 1) + t % factor)) + 0.1F * before -
                0.05F * behind;
          }
        }
      });
}

inline std::shared_ptr<Graph> flow_modulation(std::int64_t speaker, std::int64_t width) {
  return std::make_shared<Graph>(
      std::vector<TensorSpec>{{"t", DType::f32, {-1}}, {"speaker", DType::f32, {1, speaker}}},
      std::vector<TensorSpec>{{"modulation", DType::f32, {-1, width}}},
      [=](Tensors in, Tensors out) {
        for (std::int64_t k = 0; k < in[0].shape[0]; ++k) {
          for (std::int64_t c = 0; c < width; ++c) {
            floats_out(out[0])[k * width + c] =
                floats(in[0])[k] + 0.01F * static_cast<float>(c) * floats(in[1])[0];
          }
        }
      });
}

inline constexpr std::int64_t kCarried = 3;  // latent frames
inline constexpr float kTurn = 0.1F;         // angle of a position

// What a row of the field's inputs leaves behind.
inline float field_row(const float* row, std::int64_t c, std::int64_t hidden, std::int64_t z) {
  return row[c] + 0.5F * row[hidden + z + c % z];
}
inline float field_key(const float* row, std::int64_t c, std::int64_t hidden, std::int64_t z) {
  return 0.3F * field_row(row, c, hidden, z) - 0.1F * row[hidden + c % z];
}
inline float field_value(const float* row, std::int64_t c, std::int64_t hidden, std::int64_t z) {
  return field_row(row, c, hidden, z) - 0.2F;
}

// Like the real field: a row sees the one three before it and, more weakly, everything, and all of
// them at their positions. One layer of one head.
struct Field {
  std::int64_t hidden;
  std::int64_t z;
  std::int64_t modulation;

  std::int64_t width() const { return hidden + 2 * z; }

  // The key of own row `t`, at its position.
  float turned_key(Tensors in, const float* row, std::int64_t t, std::int64_t c) const {
    return std::cos(kTurn * static_cast<float>(ints(in[2])[t])) * field_key(row, c, hidden, z);
  }

  // Sums over the prompt and over past and own rows that are not hidden.
  float attend(Tensors in, const float* own, std::int64_t b) const {
    const std::int64_t prompt = in[6].shape[2];
    const std::int64_t past = in[8].shape[2];
    const std::int64_t frames = in[0].shape[1];
    const float far = std::cos(kTurn * static_cast<float>(ints(in[3])[0]));
    float sum = 0;
    float count = 0;
    for (std::int64_t p = 0; p < prompt; ++p) {
      for (std::int64_t c = 0; c < hidden; ++c) {
        sum += far * floats(in[6])[(b * prompt + p) * hidden + c] *
               floats(in[7])[(b * hidden + c) * prompt + p];
      }
      ++count;
    }
    for (std::int64_t r = 0; r < past + frames; ++r) {
      if (floats(in[4])[r] < -1) continue;
      for (std::int64_t c = 0; c < hidden; ++c) {
        const std::int64_t at = (b * past + r) * hidden + c;
        const float* row = own + (r - past) * width();
        const float key = r < past ? floats(in[8])[at] : turned_key(in, row, r - past, c);
        const float value = r < past ? floats(in[9])[at] : field_value(row, c, hidden, z);
        sum += key * value;
      }
      ++count;
    }
    return sum / count;
  }

  // Where the graph wants what rows leave behind.
  void leave(Tensors in, Tensors out, const float* row, std::int64_t b, std::int64_t t) const {
    const std::int64_t frames = in[0].shape[1];
    for (std::int64_t c = 0; c < hidden; ++c) {
      const std::int64_t at = (b * frames + t) * hidden + c;
      const float kept[] = {field_row(row, c, hidden, z), turned_key(in, row, t, c),
                            field_value(row, c, hidden, z)};
      for (std::size_t i = 0; i < 3; ++i) {
        if (out[i + 1].data != nullptr) floats_out(out[i + 1])[at] = kept[i];
      }
    }
  }

  void operator()(Tensors in, Tensors out) const {
    const std::int64_t frames = in[0].shape[1];
    for (std::int64_t b = 0; b < in[0].shape[0]; ++b) {
      const float* own = floats(in[0]) + b * frames * width();
      const float all = attend(in, own, b);
      for (std::int64_t t = 0; t < frames; ++t) {
        const float* row = own + t * width();
        leave(in, out, row, b, t);
        const float before = t < kCarried ? floats(in[5])[(b * kCarried + t) * hidden]
                                          : field_row(row - kCarried * width(), 0, hidden, z);
        const float turn = std::cos(kTurn * static_cast<float>(ints(in[2])[t]));
        for (std::int64_t c = 0; c < z; ++c) {
          floats_out(out[0])[(b * frames + t) * z + c] =
              0.5F * row[c % hidden] - 0.3F * row[hidden + c] - row[hidden + z + c] +
              0.2F * before + turn * all + floats(in[1])[c % modulation];
        }
      }
    }
  }
};

inline std::shared_ptr<Graph> flow_field(std::int64_t hidden, std::int64_t z,
                                         std::int64_t modulation) {
  using Shapes = std::vector<TensorSpec>;
  const std::vector<std::int64_t> rows = {-1, -1, hidden};
  const std::vector<std::int64_t> heads = {-1, 1, -1, hidden};
  return std::make_shared<Graph>(Shapes{{"inputs", DType::f32, {-1, -1, hidden + 2 * z}},
                                        {"modulation", DType::f32, {1, modulation}},
                                        {"positions", DType::i64, {-1}},
                                        {"prompt_positions", DType::i64, {-1}},
                                        {"mask", DType::f32, {-1}},
                                        {"carried", DType::f32, {-1, kCarried, hidden}},
                                        {"prompt_keys.0", DType::f32, heads},
                                        {"prompt_values.0", DType::f32, {-1, 1, hidden, -1}},
                                        {"past_keys.0", DType::f32, heads},
                                        {"past_values.0", DType::f32, heads}},
                                 Shapes{{"velocity", DType::f32, {-1, -1, z}},
                                        {"rows", DType::f32, rows},
                                        {"keys.0", DType::f32, heads},
                                        {"values.0", DType::f32, heads}},
                                 Field{hidden, z, modulation});
}

}  // namespace fake
