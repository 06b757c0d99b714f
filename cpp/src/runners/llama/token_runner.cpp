// Feeds embedding rows to llama.cpp and keeps its cache as it was where that fails.
#include "runners/llama/token_runner.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <thread>

#include "parley/errors.h"

namespace parley::llama {
namespace {

// llama.cpp counts positions in 32 bits.
constexpr std::int64_t kLastPosition = std::numeric_limits<llama_pos>::max() - 1;

[[noreturn]] void refuse(const std::string& what) {
  throw InputError("[llama." + what);
}

void check_options(const TokenRunnerOptions& options, const Model& model) {
  constexpr std::int32_t kMostCells = 1 << 24;
  if (options.n_cells < 1 || options.n_cells > kMostCells) {
    refuse("create] expected 1 to " + std::to_string(kMostCells) + " KV cells, got " +
           std::to_string(options.n_cells) + "; set n_cells");
  }
  if (options.n_batch < 1 || options.threads < 0) {
    refuse("create] expected n_batch of 1 or more and threads of 0 or more, got " +
           std::to_string(options.n_batch) + " and " + std::to_string(options.threads) +
           "; set both");
  }
  if (options.kv_q8_0 && options.kv_f32) {
    refuse("create] expected one type for keys and values, got kv_q8_0 and kv_f32; set one");
  }
  if (options.kv_q8_0) model.check_kv_q8_0();
}

}  // namespace

llama_context_params context_params(const Model& model, const TokenRunnerOptions& options) {
  llama_context_params params = model.library().functions().llama_context_default_params();
  params.n_ctx = static_cast<std::uint32_t>(options.n_cells);
  params.n_batch = static_cast<std::uint32_t>(options.n_batch);
  params.n_ubatch = params.n_batch;
  params.n_seq_max = 1;
  params.n_outputs_max = 1;  // else a row of logits is reserved for every position of a pass
  params.n_threads = options.threads > 0
                         ? options.threads
                         : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  params.n_threads_batch = params.n_threads;
  params.no_perf = true;
  params.op_offload = model.on_gpu();
  params.offload_kqv = model.on_gpu();
  if (options.kv_f32) {
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  } else if (options.kv_q8_0) {
    params.type_k = params.type_v = GGML_TYPE_Q8_0;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;  // needed for 8-bit values
  }
  return params;
}

Runner::Runner(std::shared_ptr<const Model> model, const TokenRunnerOptions& options)
    : model_(std::move(model)),
      f_(model_->library().functions()),
      options_(options),
      context_(nullptr, f_.llama_free) {
  check_options(options_, *model_);
  options_.n_batch = std::min(options_.n_batch, options_.n_cells);
  make_context();
  const auto n = static_cast<std::size_t>(options_.n_batch);
  positions_.resize(n);
  n_sequences_.assign(n, 1);
  sequences_.assign(n, &sequence_);
  wanted_.assign(n, 0);
}

void Runner::make_context() {
  llama_context_params params = context_params(*model_, options_);
  params.abort_callback = [](void* self) {
    const StopFlag* stop = static_cast<const Runner*>(self)->stop_;
    return stop != nullptr && stop->is_set();
  };
  params.abort_callback_data = this;
  // ggml ends the process where one of its own small allocations fails.
  constexpr std::size_t kRoom = std::size_t{32} << 20U;
  void* volatile room = std::malloc(kRoom);  // volatile: else it may be left out
  if (room == nullptr)
    refuse_no_memory("[llama.create] ", std::to_string(options_.n_cells) + " KV cells",
                     "bad_alloc");
  std::free(room);
  clear_log();
  context_.reset(f_.llama_init_from_model(model_->model(), params));
  if (!context_ || f_.llama_n_ctx(context_.get()) < params.n_ctx) {
    refuse_no_memory("[llama.create] ", std::to_string(options_.n_cells) + " KV cells", last_log());
    throw ContextError("[llama.create] expected memory for " + std::to_string(options_.n_cells) +
                       " KV cells, got '" + one_line(last_log()) + "'; lower n_cells");
  }
  memory_ = f_.llama_get_memory(context_.get());
}

std::int64_t Runner::check_feed(std::span<const float> rows, std::int64_t position) const {
  const auto width = static_cast<std::size_t>(model_->width());
  const auto n = static_cast<std::int64_t>(rows.size() / width);
  if (n < 1 || rows.size() % width != 0) {
    refuse("feed] expected one row or more of " + std::to_string(width) + " values, got " +
           std::to_string(rows.size()) + " values; pass whole rows");
  }
  if (position < 0 || position > kLastPosition - n) {
    refuse("feed] expected positions from 0 to " + std::to_string(kLastPosition) + ", got " +
           std::to_string(n) + " from " + std::to_string(position) +
           " on; shift the positions towards the start");
  }
  if (!held_.empty() && position != held_.end()) {
    refuse("feed] expected the position after the last one, " + std::to_string(held_.end()) +
           ", got " + std::to_string(position) + "; erase up to there or feed without a gap");
  }
  if (held_.count() + n > options_.n_cells) {
    throw ContextError("[llama.feed] expected at most " + std::to_string(options_.n_cells) +
                       " occupied KV cells, got " + std::to_string(held_.count()) +
                       " occupied and " + std::to_string(n) +
                       " more; erase positions or create the runner with more n_cells");
  }
  return n;
}

void Runner::feed(std::span<const float> rows, std::int64_t position, bool want_logits,
                  const StopFlag& stop) {
  const std::int64_t n = check_feed(rows, position);
  stop.check();
  logits_ = nullptr;
  stop_ = &stop;
  const std::int64_t width = model_->width();
  std::int32_t code = 0;
  for (std::int64_t done = 0; done < n && code == 0;) {
    const std::int64_t m = std::min<std::int64_t>(options_.n_batch, n - done);
    const bool last = done + m == n;
    code = stop.is_set()
               ? 2
               : decode(rows.data() + done * width, position + done, m, want_logits && last);
    done += m;
  }
  stop_ = nullptr;
  if (code == 0 && want_logits) {
    logits_ = f_.llama_get_logits_ith(context_.get(), -1);
    if (logits_ == nullptr) code = -3;
  }
  if (code != 0) undo(position, code, stop);
  held_.append(position, n);
}

// llama.cpp's codes: 0 done, 1 no cells, 2 aborted, below 0 an error.
std::int32_t Runner::decode(const float* rows, std::int64_t position, std::int64_t n,
                            bool want_logits) {
  for (std::int64_t i = 0; i < n; ++i) {
    positions_[static_cast<std::size_t>(i)] = static_cast<llama_pos>(position + i);
  }
  std::int8_t& last = wanted_[static_cast<std::size_t>(n - 1)];
  last = want_logits ? 1 : 0;
  llama_batch batch{};
  batch.n_tokens = static_cast<std::int32_t>(n);
  batch.embd = const_cast<float*>(rows);  // read only
  batch.pos = positions_.data();
  batch.n_seq_id = n_sequences_.data();
  batch.seq_id = sequences_.data();
  batch.logits = wanted_.data();
  clear_log();
  const std::int32_t code = f_.llama_decode(context_.get(), batch);
  last = 0;
  shifted_ = false;
  return code;
}

// Everything from `position` on came with the feed that failed.
void Runner::undo(std::int64_t position, std::int32_t code, const StopFlag& stop) {
  f_.llama_memory_seq_rm(memory_, sequence_, static_cast<llama_pos>(position), -1);
  stop.check();
  const std::string got = "code " + std::to_string(code) + " '" + one_line(last_log()) + "'";
  if (code == 1) {
    throw ContextError("[llama.feed] expected free KV cells among " +
                       std::to_string(options_.n_cells) + ", got " + got +
                       "; erase positions or create the runner with more n_cells");
  }
  throw Error("[llama.feed] expected llama.cpp to compute the rows, got " + got +
              "; check them for NaN and the machine for free memory");
}

std::span<const float> Runner::logits() const {
  if (logits_ == nullptr)
    refuse("logits] expected a feed that wanted logits, got none; call feed()");
  return {logits_, static_cast<std::size_t>(model_->vocab_size())};
}

void Runner::erase(std::int64_t begin, std::int64_t end) {
  const std::int64_t to = end < 0 ? held_.end() : std::min(end, held_.end());
  const std::int64_t from = std::max<std::int64_t>(begin, 0);
  if (from >= to) return;
  if (!f_.llama_memory_seq_rm(memory_, sequence_, static_cast<llama_pos>(from),
                              static_cast<llama_pos>(to))) {
    throw Error("[llama.erase] expected to forget the positions " + std::to_string(from) + " to " +
                std::to_string(to) + ", got a refusal of this model's cache; reset the session");
  }
  held_.erase(from, to);
}

void Runner::shift(std::int64_t begin, std::int64_t end, std::int64_t by) {
  const std::int64_t to = end < 0 ? held_.end() : std::min(end, held_.end());
  const std::int64_t from = std::max<std::int64_t>(begin, 0);
  if (from >= to || by == 0) return;
  const bool fits = by > -kLastPosition && by < kLastPosition && to + by <= kLastPosition;
  if (!fits || !f_.llama_memory_can_shift(memory_) || !held_.shift(from, to, by)) {
    refuse("shift] expected free positions for those from " + std::to_string(from) + " to " +
           std::to_string(to) + " moved by " + std::to_string(by) +
           ", got others in the way; erase those first");
  }
  f_.llama_memory_seq_add(memory_, sequence_, static_cast<llama_pos>(from),
                          static_cast<llama_pos>(to), static_cast<llama_pos>(by));
  shifted_ = true;
}

// llama.cpp turns the keys of shifted positions with the next pass alone. A row that is forgotten
// again makes one.
void Runner::apply_shifts() {
  if (!shifted_ || held_.empty()) return;
  const std::int64_t position = held_.end();
  const std::vector<float> row(static_cast<std::size_t>(model_->width()));
  const std::int32_t code = decode(row.data(), position, 1, false);
  if (code != 0) undo(position, code, StopFlag());
  f_.llama_memory_seq_rm(memory_, sequence_, static_cast<llama_pos>(position), -1);
}

void Runner::save(ByteWriter& to) {
  apply_shifts();
  to.put_all(std::span<const PositionSpans::Range>(held_.ranges()));
  std::vector<std::uint8_t> bytes(f_.llama_state_seq_get_size(context_.get(), sequence_));
  bytes.resize(f_.llama_state_seq_get_data(context_.get(), bytes.data(), bytes.size(), sequence_));
  to.put_all(std::span<const std::uint8_t>(bytes));
}

void Runner::load(ByteReader& from) {
  erase(0, -1);
  logits_ = nullptr;
  PositionSpans held;
  for (const PositionSpans::Range& range :
       from.get_some<PositionSpans::Range>(static_cast<std::size_t>(options_.n_cells))) {
    if (range.begin < held.end() || range.end <= range.begin)
      refuse("load] expected ascending positions, got others; take up what this parley saved");
    held.add(range);
  }
  const auto bytes = from.get_some<std::uint8_t>(from.left());
  clear_log();
  const bool empty = held.empty();
  if (!empty && (held.count() > options_.n_cells ||
                 f_.llama_state_seq_set_data(context_.get(), bytes.data(), bytes.size(),
                                             sequence_) != bytes.size())) {
    f_.llama_memory_seq_rm(memory_, sequence_, -1, -1);
    refuse("load] expected a cache that a model like this one saved, got '" + one_line(last_log()) +
           "'; take up what was saved of the same bundle with the same kv");
  }
  held_ = std::move(held);
}

}  // namespace parley::llama
