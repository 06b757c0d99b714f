// Loads a checked GGUF with llama.cpp and reads its tokenizer and embedding rows; runs nothing.
#include "runners/llama/token_model.h"

#include <cstring>
#include <limits>

#include "parley/errors.hpp"
#include "runners/llama/token_runner.h"

namespace parley::llama {
namespace {

std::filesystem::path folder_of(const std::filesystem::path& file) {
  return file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
}

bool wants_gpu(const Library& library, const std::string& device) {
  if (device == "cpu") return false;
  if (device != "cuda" && device != "tensorrt") {
    throw InputError("[llama.open] expected the device cpu, cuda or tensorrt, got '" + device +
                     "'; choose one of them");
  }
  if (library.functions().llama_supports_gpu_offload()) return true;
  throw LibraryError("[llama.open] expected llama.cpp with GPU support in '" + library.path() +
                     "' for the device '" + device + "', got one for the CPU only; run " +
                     "`CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-cache-dir "
                     "llama-cpp-python==" +
                     kPackage + "` with CUDA's compiler installed, or take the device 'cpu'");
}

}  // namespace

Model::Model(const Library& library, const std::filesystem::path& file,
             const TokenModelOptions& options)
    : library_(library),
      listening_(library),
      map_(folder_of(file), file.filename().string()),
      name_(file.filename().string()),
      on_gpu_(wants_gpu(library, options.device)),
      model_(nullptr, library.functions().llama_model_free) {
  const gguf::File checked = gguf::read(map_.bytes(), name_);
  gguf::check_decoder(checked, name_);
  load(file);
  find_rows(checked);
  if (options.kv_q8_0) check_kv_q8_0();
  if (options.importance && on_gpu_) {
    throw InputError("[llama.open] expected the device cpu for importance, got '" + options.device +
                     "'; take cpu");
  }
  if (options.importance) sums_ = std::make_unique<ImportanceSums>();
}

std::vector<Importance> Model::importance() const {
  return sums_ ? sums_->means() : std::vector<Importance>();
}

void Model::load(const std::filesystem::path& file) {
  const Functions& f = library_.functions();
  static ggml_backend_dev_t no_devices[] = {nullptr};
  llama_model_params params = f.llama_model_default_params();
  params.load_mode = LLAMA_LOAD_MODE_MMAP;
  params.n_gpu_layers = on_gpu_ ? -1 : 0;
  // A library built for a GPU would use it for long prefills even without layers there.
  if (!on_gpu_) params.devices = no_devices;
  clear_log();
  model_.reset(f.llama_model_load_from_file(file.c_str(), params));
  if (!model_) {
    refuse_no_memory("[llama.open] ", "'" + file.string() + "'", last_log());
    throw BundleError("[llama.open] expected a model that llama.cpp " + library_.version() +
                      " can load in '" + file.string() + "', got '" + one_line(last_log()) +
                      "'; export the bundle again");
  }
  vocab_ = f.llama_model_get_vocab(model_.get());
  vocab_size_ = f.llama_vocab_n_tokens(vocab_);
  width_ = f.llama_model_n_embd(model_.get());
}

void Model::find_rows(const gguf::File& file) {
  const gguf::Tensor* rows = file.tensor("token_embd.weight");
  const std::string architecture = file.text("general.architecture");
  head_size_ = static_cast<std::int32_t>(
      file.number(architecture + ".attention.key_length")
          .value_or(width_ / library_.functions().llama_model_n_head(model_.get())));
  const auto* traits =
      library_.functions().ggml_get_type_traits(static_cast<ggml_type>(rows->type));
  const bool plain = rows->type == GGML_TYPE_F32;
  if (rows->dims[0] != static_cast<std::uint64_t>(width_) ||
      rows->dims[1] != static_cast<std::uint64_t>(vocab_size_) ||
      (!plain && traits->to_float == nullptr)) {
    throw BundleError("[llama.open] expected token_embd.weight of '" + name_ + "' to hold " +
                      std::to_string(vocab_size_) + " rows of " + std::to_string(width_) +
                      " in a type that can be read, got another; export the bundle again");
  }
  rows_ = map_.bytes().data() + rows->offset;
  row_bytes_ = rows->bytes / rows->dims[1];
  to_float_ = plain ? nullptr : traits->to_float;
}

void Model::check_kv_q8_0() const {
  if (head_size_ % 32 == 0) return;
  throw InputError(
      "[llama.open] expected a head size that is a multiple of 32 for keys and values in q8_0, "
      "got " +
      std::to_string(head_size_) + " in '" + name_ + "'; take f16");
}

void Model::check_id(std::int32_t id, const char* verb) const {
  if (id >= 0 && id < vocab_size_) return;
  throw InputError(std::string("[llama.") + verb + "] expected an id from 0 to " +
                   std::to_string(vocab_size_ - 1) + ", got " + std::to_string(id) +
                   "; take ids of this model's vocabulary");
}

void Model::embed(std::span<const std::int32_t> ids, std::span<float> rows) const {
  const auto width = static_cast<std::size_t>(width_);
  if (rows.size() != ids.size() * width) {
    throw InputError("[llama.embed] expected room for " + std::to_string(ids.size()) + " rows of " +
                     std::to_string(width_) + " values, got " + std::to_string(rows.size()) +
                     "; pass ids.size() * width() values");
  }
  for (std::int32_t id : ids) check_id(id, "embed");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::byte* row = rows_ + static_cast<std::size_t>(ids[i]) * row_bytes_;
    float* to = rows.data() + i * width;
    if (to_float_ == nullptr) {
      std::memcpy(to, row, row_bytes_);
    } else {
      to_float_(row, to, width_);
    }
  }
}

// Whether the id stands for a name such as <|im_end|> and not for a piece of text.
bool Model::is_named(std::int32_t id) const {
  constexpr int kNamed = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_USER_DEFINED;
  return (library_.functions().llama_vocab_get_attr(vocab_, id) & kNamed) != 0;
}

std::vector<std::int32_t> Model::tokenize_once(std::string_view text, bool special) const {
  constexpr std::size_t kLongest = 1 << 28;
  if (text.size() > kLongest) {
    throw InputError("[llama.tokenize] expected at most " + std::to_string(kLongest) +
                     " bytes of text, got " + std::to_string(text.size()) + "; cut it");
  }
  // No token of a byte-level vocabulary is shorter than a byte.
  std::vector<std::int32_t> ids(text.size() + 1);
  const std::int32_t n = library_.functions().llama_tokenize(
      vocab_, text.data(), static_cast<std::int32_t>(text.size()), ids.data(),
      static_cast<std::int32_t>(ids.size()), false, special);
  if (n < 0) {
    throw InputError("[llama.tokenize] expected text that '" + name_ +
                     "' can spell, got more ids than bytes; check its tokenizer");
  }
  ids.resize(static_cast<std::size_t>(n));
  return ids;
}

std::vector<std::int32_t> Model::tokenize(std::string_view text, bool special) const {
  std::vector<std::int32_t> ids = tokenize_once(text, special);
  if (special) return ids;
  // llama.cpp knows user-defined tokens (audio codes may be some) in plain text too. Cutting the
  // text inside each such name, after its first byte, leaves plain text on both sides.
  std::vector<std::size_t> cuts;
  for (std::size_t at = 0; std::int32_t id : ids) {
    if (!is_named(id)) continue;
    const std::string_view name = library_.functions().llama_vocab_get_text(vocab_, id);
    const std::size_t found = text.find(name, at);
    if (name.size() < 2 || found == std::string_view::npos) continue;
    cuts.push_back(found + 1);
    at = found + name.size();
  }
  if (cuts.empty()) return ids;
  cuts.push_back(text.size());
  ids.clear();
  for (std::size_t begin = 0; std::size_t end : cuts) {
    const auto part = tokenize(text.substr(begin, end - begin), false);
    ids.insert(ids.end(), part.begin(), part.end());
    begin = end;
  }
  return ids;
}

std::size_t Model::piece(std::int32_t id, std::span<char> bytes) const {
  check_id(id, "piece");
  const std::int32_t n = library_.functions().llama_token_to_piece(
      vocab_, id, bytes.data(), static_cast<std::int32_t>(bytes.size()), 0, false);
  return static_cast<std::size_t>(n < 0 ? -n : n);
}

std::unique_ptr<TokenRunner> Model::create(const TokenRunnerOptions& options) const {
  return std::make_unique<Runner>(shared_from_this(), options);
}

}  // namespace parley::llama

namespace parley {

std::shared_ptr<const TokenModel> open_token_model(const std::string& library,
                                                   const std::filesystem::path& file,
                                                   const TokenModelOptions& options) {
  return std::make_shared<const llama::Model>(llama::Library::open(library), file, options);
}

}  // namespace parley
