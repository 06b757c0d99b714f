// Feeds embedding rows to llama.cpp and keeps its cache as it was where that fails.
#include "runners/llama/token_runner.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "parley/errors.hpp"

namespace parley::llama {
namespace {

// llama.cpp counts positions in 32 bits.
constexpr std::int64_t kLastPosition = std::numeric_limits<llama_pos>::max() - 1;

[[noreturn]] void refuse(const std::string& what) {
  throw InputError("[llama." + what);
}

TokenRunnerOptions checked(TokenRunnerOptions options, const Model& model) {
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
  options.n_batch = std::min(options.n_batch, options.n_cells);
  return options;
}

}  // namespace

Runner::Runner(std::shared_ptr<Cache> cache)
    : cache_(std::move(cache)),
      model_(cache_->model()),
      f_(model_.library().functions()),
      options_(cache_->options()) {
  const auto n = static_cast<std::size_t>(options_.n_batch);
  positions_.resize(n);
  n_sequences_.assign(n, 1);
  sequences_.assign(n, &sequence_);
  wanted_.assign(n, 0);
  const std::lock_guard<std::mutex> lock(cache_->mutex);
  sequence_ = cache_->take_sequence();  // last: nothing may throw behind it
}

Runner::Runner(std::shared_ptr<const Model> model, const TokenRunnerOptions& options)
    : Runner(std::make_shared<Cache>(model, checked(options, *model))) {}

Runner::~Runner() {
  const std::lock_guard<std::mutex> lock(cache_->mutex);
  cache_->give_back(sequence_);
}

std::int64_t Runner::check_feed(std::span<const float> rows, std::int64_t position) const {
  const auto width = static_cast<std::size_t>(model_.width());
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
  const std::lock_guard<std::mutex> lock(cache_->mutex);
  cache_->stop = &stop;
  const std::int64_t width = model_.width();
  std::int32_t code = 0;
  for (std::int64_t done = 0; done < n && code == 0;) {
    const std::int64_t m = std::min<std::int64_t>(options_.n_batch, n - done);
    const bool last = done + m == n;
    code = stop.is_set()
               ? 2
               : decode(rows.data() + done * width, position + done, m, want_logits && last);
    done += m;
  }
  cache_->stop = nullptr;
  if (code == 0 && want_logits && !take_logits()) code = -3;
  if (code != 0) undo(position, code, stop);
  held_.append(position, n);
}

// False where llama.cpp has none.
bool Runner::take_logits() {
  logits_ = f_.llama_get_logits_ith(cache_->context(), -1);
  if (logits_ != nullptr && cache_->is_shared()) keep_logits();
  return logits_ != nullptr;
}

// The context has those of the last feed alone, whatever sequence that was of.
void Runner::keep_logits() {
  if (logits_ == nullptr || logits_ == own_logits_.data()) return;
  own_logits_.assign(logits_, logits_ + model_.vocab_size());
  logits_ = own_logits_.data();
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
  const std::int32_t code = f_.llama_decode(cache_->context(), batch);
  last = 0;
  shifted_ = false;
  return code;
}

// Everything from `position` on came with the feed that failed.
void Runner::undo(std::int64_t position, std::int32_t code, const StopFlag& stop) {
  f_.llama_memory_seq_rm(cache_->memory(), sequence_, static_cast<llama_pos>(position), -1);
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
  return {logits_, static_cast<std::size_t>(model_.vocab_size())};
}

void Runner::erase(std::int64_t begin, std::int64_t end) {
  const std::int64_t to = end < 0 ? held_.end() : std::min(end, held_.end());
  const std::int64_t from = std::max<std::int64_t>(begin, 0);
  if (from >= to) return;
  const std::lock_guard<std::mutex> lock(cache_->mutex);
  if (!f_.llama_memory_seq_rm(cache_->memory(), sequence_, static_cast<llama_pos>(from),
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
  const std::lock_guard<std::mutex> lock(cache_->mutex);
  if (cache_->is_shared()) {
    refuse(
        "shift] expected a cache of one conversation, got one that forks share, whose positions "
        "would move too; close the forks first");
  }
  const bool fits = by > -kLastPosition && by < kLastPosition && to + by <= kLastPosition;
  if (!fits || !f_.llama_memory_can_shift(cache_->memory()) || !held_.shift(from, to, by)) {
    refuse("shift] expected free positions for those from " + std::to_string(from) + " to " +
           std::to_string(to) + " moved by " + std::to_string(by) +
           ", got others in the way; erase those first");
  }
  f_.llama_memory_seq_add(cache_->memory(), sequence_, static_cast<llama_pos>(from),
                          static_cast<llama_pos>(to), static_cast<llama_pos>(by));
  shifted_ = true;
}

// llama.cpp turns the keys of shifted positions with the next pass alone. A row that is forgotten
// again makes one.
void Runner::apply_shifts() {
  if (!shifted_ || held_.empty()) return;
  const std::int64_t position = held_.end();
  const std::vector<float> row(static_cast<std::size_t>(model_.width()));
  const std::int32_t code = decode(row.data(), position, 1, false);
  if (code != 0) undo(position, code, StopFlag());
  f_.llama_memory_seq_rm(cache_->memory(), sequence_, static_cast<llama_pos>(position), -1);
}

void Runner::save(ByteWriter& to) {
  const std::lock_guard<std::mutex> lock(cache_->mutex);
  apply_shifts();
  to.put_all(std::span<const PositionSpans::Range>(held_.ranges()));
  std::vector<std::uint8_t> bytes(f_.llama_state_seq_get_size(cache_->context(), sequence_));
  bytes.resize(
      f_.llama_state_seq_get_data(cache_->context(), bytes.data(), bytes.size(), sequence_));
  to.put_all(std::span<const std::uint8_t>(bytes));
}

void Runner::load(ByteReader& from) {
  erase(0, -1);
  logits_ = nullptr;
  PositionSpans held;
  for (const PositionSpans::Range& range :
       from.get_some<PositionSpans::Range>(static_cast<std::size_t>(options_.n_cells))) {
    if (range.begin < held.end() || range.end <= range.begin || range.end > kLastPosition)
      refuse("load] expected ascending positions, got others; take up what this parley saved");
    held.add(range);
  }
  const auto bytes = from.get_some<std::uint8_t>(from.left());
  const std::lock_guard<std::mutex> lock(cache_->mutex);
  clear_log();
  const bool empty = held.empty();
  if (!empty &&
      (held.count() > options_.n_cells ||
       f_.llama_state_seq_set_data(cache_->context(), bytes.data(), bytes.size(), sequence_) !=
           bytes.size() ||
       f_.llama_memory_seq_pos_min(cache_->memory(), sequence_) != held.ranges().front().begin ||
       f_.llama_memory_seq_pos_max(cache_->memory(), sequence_) != held.end() - 1)) {
    f_.llama_memory_seq_rm(cache_->memory(), sequence_, -1, -1);
    refuse("load] expected a cache that a model like this one saved, got '" + one_line(last_log()) +
           "'; take up what was saved of the same bundle with the same kv");
  }
  held_ = std::move(held);
}

std::unique_ptr<TokenRunner> Runner::fork() {
  std::unique_ptr<Runner> copy(new Runner(cache_));
  const std::lock_guard<std::mutex> lock(cache_->mutex);
  // Keys of shifted positions are turned with the next pass, and once for both.
  apply_shifts();
  f_.llama_memory_seq_cp(cache_->memory(), sequence_, copy->sequence_, -1, -1);
  copy->held_ = held_;
  keep_logits();
  return copy;
}

}  // namespace parley::llama
