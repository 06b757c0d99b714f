// Writes a GGUF file anew in another type, by llama.cpp's own code.
#include <vector>

#include "parley/errors.hpp"
#include "runners/llama/library.h"
#include "runners/llama/model.h"

namespace parley {

void quantize_gguf(const std::string& library, const std::filesystem::path& source,
                   const std::filesystem::path& target, const QuantizeOptions& options) {
  const llama::Library& opened = llama::Library::open(library);
  const llama::Functions& f = opened.functions();
  const llama::Listening listening(opened);
  llama_model_quantize_params params = f.llama_model_quantize_default_params();
  params.ftype = static_cast<llama_ftype>(options.file_type);
  params.nthread = options.threads;
  params.max_buf_size = options.rows_bytes;
  params.allow_requantize = options.requantize;
  std::vector<llama_model_imatrix_data> importance;
  for (const Importance& one : options.importance)
    importance.push_back({one.weight.c_str(), one.columns.data(), one.columns.size()});
  importance.push_back({});  // the end of the list
  if (importance.size() > 1) params.imatrix = importance.data();
  llama::clear_log();
  if (f.llama_model_quantize(source.c_str(), target.c_str(), &params) == 0) return;
  throw BundleError("[llama.quantize] expected a model that llama.cpp " + opened.version() +
                    " can quantize in '" + source.string() + "', got '" +
                    one_line(llama::last_log()) + "'; check the file and the disk");
}

}  // namespace parley
