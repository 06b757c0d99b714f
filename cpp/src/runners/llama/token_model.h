// The llama.cpp model that runners share: weights, tokenizer, embedding rows; holds no sequence.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "runners/llama/gguf.h"
#include "runners/llama/importance.h"
#include "runners/llama/library.h"
#include "runners/llama/model.h"

namespace parley::llama {

class Model final : public TokenModel, public std::enable_shared_from_this<Model> {
 public:
  Model(const Library& library, const std::filesystem::path& file,
        const TokenModelOptions& options);

  std::int32_t vocab_size() const override { return vocab_size_; }
  std::int32_t width() const override { return width_; }
  std::unique_ptr<TokenRunner> create(const TokenRunnerOptions& options) const override;
  void embed(std::span<const std::int32_t> ids, std::span<float> rows) const override;
  std::vector<std::int32_t> tokenize(std::string_view text, bool special) const override;
  std::size_t piece(std::int32_t id, std::span<char> bytes) const override;

  const Library& library() const { return library_; }
  llama_model* model() const { return model_.get(); }
  // Throws InputError where the heads do not allow 8-bit keys and values.
  void check_kv_q8_0() const;
  bool on_gpu() const { return on_gpu_; }
  std::vector<Importance> importance() const override;
  // Null where nothing is added up.
  ImportanceSums* importance_sums() const { return sums_.get(); }

 private:
  void load(const std::filesystem::path& file);
  void find_rows(const gguf::File& file);
  void check_id(std::int32_t id, const char* verb) const;
  std::vector<std::int32_t> tokenize_once(std::string_view text, bool special) const;
  bool is_named(std::int32_t id) const;

  const Library& library_;
  Listening listening_;  // before all that may speak
  MappedFile map_;       // the pages are llama.cpp's too: one copy in memory
  std::string name_;
  bool on_gpu_ = false;
  std::unique_ptr<llama_model, void (*)(llama_model*)> model_;
  const llama_vocab* vocab_ = nullptr;  // owned by model_
  std::int32_t vocab_size_ = 0;
  std::int32_t width_ = 0;
  std::int32_t head_size_ = 0;
  const std::byte* rows_ = nullptr;  // token_embd.weight in map_
  std::size_t row_bytes_ = 0;
  ggml_to_float_t to_float_ = nullptr;  // null: the rows are f32 already
  std::unique_ptr<ImportanceSums> sums_;
};

}  // namespace parley::llama
