// What evaluations of the flow's field recall: nothing, a voice prompt, a stream's past; no codes.
#include "stages/flow/memory.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

namespace parley {

namespace {

// Finite in half precision too; the softmax of such a score is exactly zero.
constexpr float kMasked = -1e4F;

std::int64_t signed_size(std::size_t n) {
  return static_cast<std::int64_t>(n);
}

TensorView cache_view(const FieldSizes& sizes, const std::byte* data, Shape shape) {
  return {const_cast<std::byte*>(data), sizes.cache, shape};
}

std::size_t branches_of(const FlowPlan& plan) {
  std::size_t n = 0;
  for (const FlowEvaluation& evaluation : plan) n += evaluation.branches();
  return n;
}

template <typename T>
void transpose(const std::byte* in, std::byte* out, std::size_t rows, std::size_t columns) {
  const T* from = reinterpret_cast<const T*>(in);
  T* to = reinterpret_cast<T*>(out);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
}

}  // namespace

NoMemory::NoMemory(const FieldSizes& sizes, const FlowPlan& plan, std::size_t max_frames)
    : sizes_(sizes),
      plan_(plan),
      memory_(sizes),
      positions_(max_frames),
      zeros_(std::max(max_frames, 2 * sizes.carried * sizes.hidden)) {
  std::iota(positions_.begin(), positions_.end(), 0);
}

const FieldMemory& NoMemory::recall(std::size_t evaluation, std::size_t frames) {
  const std::int64_t branches = signed_size(plan_[evaluation].branches());
  const std::int64_t hidden = signed_size(sizes_.hidden);
  const std::int64_t heads = signed_size(sizes_.heads);
  const std::int64_t width = signed_size(sizes_.head_width);
  memory_.positions = view(positions_.data(), {signed_size(frames)});
  memory_.prompt_positions = memory_.positions;
  memory_.mask = view(zeros_.data(), {signed_size(frames)});
  memory_.carried = view(zeros_.data(), {branches, signed_size(sizes_.carried), hidden});
  for (std::size_t i = 0; i < sizes_.layers; ++i) {
    memory_.prompt_keys[i] = cache_view(sizes_, nullptr, {branches, heads, 0, width});
    memory_.prompt_values[i] = cache_view(sizes_, nullptr, {branches, heads, width, 0});
    memory_.past_keys[i] = cache_view(sizes_, nullptr, {branches, heads, 0, width});
    memory_.past_values[i] = memory_.past_keys[i];
  }
  return memory_;
}

std::size_t PromptCache::bytes(const FieldSizes& sizes, const FlowPlan& plan, std::size_t frames) {
  const std::size_t rows = 2 * sizes.layers * frames * sizes.row_bytes();
  return branches_of(plan) * (rows + sizes.carried * sizes.hidden * sizeof(float));
}

PromptMemory::PromptMemory(const FieldSizes& sizes, const FlowPlan& plan, std::size_t frames,
                           PromptCache& cache, const SetupProgress& progress)
    : NoMemory(sizes, plan, frames),
      cache_(cache),
      progress_(progress),
      rows_(2 * frames * sizes.hidden),
      values_(2 * sizes.layers * frames * sizes.row_bytes()) {
  cache_.frames = frames;
  cache_.evaluations.resize(plan.size());
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const std::size_t branches = plan[i].branches();
    cache_.evaluations[i].keys.resize(sizes.layers * branches * frames * sizes.row_bytes());
    cache_.evaluations[i].values.resize(cache_.evaluations[i].keys.size());
    cache_.evaluations[i].rows.resize(branches * sizes.carried * sizes.hidden);
  }
}

const FieldMemory& PromptMemory::recall(std::size_t evaluation, std::size_t frames) {
  NoMemory::recall(evaluation, frames);
  const std::size_t branches = plan_[evaluation].branches();
  const Shape by_head = {signed_size(branches), signed_size(sizes_.heads), signed_size(frames),
                         signed_size(sizes_.head_width)};
  const std::size_t layer_bytes = branches * frames * sizes_.row_bytes();
  for (std::size_t i = 0; i < sizes_.layers; ++i) {
    std::byte* keys = cache_.evaluations[evaluation].keys.data() + i * layer_bytes;
    memory_.keys[i] = cache_view(sizes_, keys, by_head);
    memory_.values[i] = cache_view(sizes_, values_.data() + i * layer_bytes, by_head);
  }
  memory_.rows =
      view(rows_.data(), {signed_size(branches), signed_size(frames), signed_size(sizes_.hidden)});
  return memory_;
}

void PromptMemory::keep(std::size_t evaluation) {
  stand_up(evaluation);
  // A prompt shorter than the convolution's reach leaves zeros before it, as there are outside.
  const std::size_t n = std::min(sizes_.carried, cache_.frames);
  std::vector<float>& kept = cache_.evaluations[evaluation].rows;
  for (std::size_t b = 0; b < plan_[evaluation].branches(); ++b) {
    const float* from = rows_.data() + ((b + 1) * cache_.frames - n) * sizes_.hidden;
    std::copy_n(from, n * sizes_.hidden,
                kept.data() + ((b + 1) * sizes_.carried - n) * sizes_.hidden);
  }
  if (progress_) progress_(evaluation + 1, plan_.size());
}

// Values lie as the later matrix products read them.
void PromptMemory::stand_up(std::size_t evaluation) {
  std::vector<std::byte>& values = cache_.evaluations[evaluation].values;
  const std::size_t head_bytes = cache_.frames * sizes_.head_width * size_of(sizes_.cache);
  const auto turn =
      size_of(sizes_.cache) == sizeof(float) ? transpose<float> : transpose<std::uint16_t>;
  for (std::size_t at = 0; at < values.size(); at += head_bytes) {
    turn(values_.data() + at, values.data() + at, cache_.frames, sizes_.head_width);
  }
}

StreamMemory::StreamMemory(const FieldSizes& sizes, const FlowPlan& plan,
                           std::shared_ptr<const PromptCache> prompt, Frames frames)
    : sizes_(sizes),
      plan_(plan),
      prompt_(std::move(prompt)),
      frames_(frames),
      capacity_(frames.past > 0 ? frames.past + frames.slack : 0),
      row_capacity_(sizes.carried + frames.slack),
      memory_(sizes),
      positions_(frames.most),
      prompt_positions_(frames.most),
      mask_(capacity_ + frames.most),
      carried_(2 * sizes.carried * sizes.hidden),
      new_rows_(2 * frames.most * sizes.hidden),
      new_cache_(2 * sizes.layers * 2 * frames.most * sizes.row_bytes()) {
  std::size_t branches = 0;
  for (const FlowEvaluation& evaluation : plan) {
    before_.push_back(branches);
    branches += evaluation.branches();
  }
  rings_.cache.resize(branches * 2 * sizes.layers * capacity_ * sizes.row_bytes());
  rings_.rows.resize(branches * row_capacity_ * sizes.hidden);
}

std::size_t StreamMemory::bytes(const FieldSizes& sizes, const FlowPlan& plan, Frames frames) {
  const std::size_t capacity = frames.past > 0 ? frames.past + frames.slack : 0;
  return branches_of(plan) * (2 * sizes.layers * capacity * sizes.row_bytes() +
                              (sizes.carried + frames.slack) * sizes.hidden * sizeof(float));
}

// `part`: 0 keys, 1 values. `[B, heads, capacity, head_width]`.
std::byte* StreamMemory::ring(std::size_t evaluation, std::size_t layer, std::size_t part) {
  const std::size_t ring_bytes = capacity_ * sizes_.row_bytes();
  const std::size_t first = before_[evaluation] * 2 * sizes_.layers;
  const std::size_t branches = plan_[evaluation].branches();
  return rings_.cache.data() + (first + (2 * layer + part) * branches) * ring_bytes;
}

float* StreamMemory::rows_of(std::size_t evaluation, std::size_t branch) {
  return rings_.rows.data() + (before_[evaluation] + branch) * row_capacity_ * sizes_.hidden;
}

void StreamMemory::place(std::int64_t done, std::size_t own) {
  const std::int64_t after = done + signed_size(own);
  const bool harms = !same_reply_ || after > committed_ + signed_size(frames_.slack);
  if (committed_alive_ && !is_saved_ && harms) {
    saved_ = rings_;
    is_saved_ = true;
  }
  done_ = done;
  own_ = own;
  std::fill_n(mask_.begin(), capacity_, kMasked);
  const std::int64_t seen = capacity_ > 0 ? std::min(done, signed_size(frames_.past)) : 0;
  for (std::int64_t frame = done - seen; frame < done; ++frame)
    mask_[static_cast<std::size_t>(frame) % capacity_] = 0.0F;
  // Only distances count. Those within the reply are what they are, so that a key is rotated once;
  // from the prompt, positions count without the frames that nobody sees any more.
  const std::int64_t prompt = signed_size(prompt_->frames);
  std::iota(positions_.begin(), positions_.end(), prompt + done);
  std::iota(prompt_positions_.begin(), prompt_positions_.end(), prompt + seen);
}

const FieldMemory& StreamMemory::recall(std::size_t evaluation, std::size_t frames) {
  gather_carried(evaluation);
  const std::size_t n_branches = plan_[evaluation].branches();
  const std::int64_t branches = signed_size(n_branches);
  const std::int64_t hidden = signed_size(sizes_.hidden);
  const std::int64_t heads = signed_size(sizes_.heads);
  const std::int64_t width = signed_size(sizes_.head_width);
  const std::int64_t prompt = signed_size(prompt_->frames);
  const std::int64_t rows = signed_size(capacity_ + frames);
  memory_.positions = view(positions_.data(), {signed_size(frames)});
  memory_.prompt_positions = view(prompt_positions_.data(), {signed_size(frames)});
  memory_.mask = view(mask_.data(), {rows});
  memory_.carried = view(carried_.data(), {branches, signed_size(sizes_.carried), hidden});
  const Shape own = {branches, heads, signed_size(frames), width};
  memory_.rows = view(new_rows_.data(), {branches, signed_size(frames), hidden});
  const PromptCache::Evaluation& of_voice = prompt_->evaluations[evaluation];
  const std::size_t prompt_bytes = n_branches * prompt_->frames * sizes_.row_bytes();
  const std::size_t own_bytes = n_branches * frames * sizes_.row_bytes();
  for (std::size_t i = 0; i < sizes_.layers; ++i) {
    memory_.prompt_keys[i] = cache_view(sizes_, of_voice.keys.data() + i * prompt_bytes,
                                        {branches, heads, prompt, width});
    memory_.prompt_values[i] = cache_view(sizes_, of_voice.values.data() + i * prompt_bytes,
                                          {branches, heads, width, prompt});
    const Shape past = {branches, heads, signed_size(capacity_), width};
    memory_.past_keys[i] = cache_view(sizes_, ring(evaluation, i, 0), past);
    memory_.past_values[i] = cache_view(sizes_, ring(evaluation, i, 1), past);
    if (capacity_ == 0) continue;
    memory_.keys[i] = cache_view(sizes_, new_cache_.data() + 2 * i * own_bytes, own);
    memory_.values[i] = cache_view(sizes_, new_cache_.data() + (2 * i + 1) * own_bytes, own);
  }
  return memory_;
}

// The rows right before the own ones: the reply's, and before its begin the prompt's.
void StreamMemory::gather_carried(std::size_t evaluation) {
  const std::size_t hidden = sizes_.hidden;
  const std::int64_t first = done_ - signed_size(sizes_.carried);
  for (std::size_t b = 0; b < plan_[evaluation].branches(); ++b) {
    const float* of_voice =
        prompt_->evaluations[evaluation].rows.data() + b * sizes_.carried * hidden;
    for (std::size_t i = 0; i < sizes_.carried; ++i) {
      const std::int64_t frame = first + signed_size(i);
      const auto slot = static_cast<std::size_t>(std::max<std::int64_t>(frame, 0)) % row_capacity_;
      const float* from =
          frame < 0
              ? of_voice + static_cast<std::size_t>(frame + signed_size(sizes_.carried)) * hidden
              : rows_of(evaluation, b) + slot * hidden;
      std::copy_n(from, hidden, carried_.data() + (b * sizes_.carried + i) * hidden);
    }
  }
}

void StreamMemory::keep(std::size_t evaluation) {
  const auto frames = static_cast<std::size_t>(memory_.rows.shape[1]);
  const std::size_t branches = plan_[evaluation].branches();
  for (std::size_t i = 0; i < own_; ++i) {
    const auto frame = static_cast<std::size_t>(done_) + i;
    for (std::size_t b = 0; b < branches; ++b) {
      const float* row = new_rows_.data() + (b * frames + i) * sizes_.hidden;
      std::copy_n(row, sizes_.hidden,
                  rows_of(evaluation, b) + frame % row_capacity_ * sizes_.hidden);
    }
  }
  if (capacity_ == 0) return;
  // Rings of all layers, keys and values, branches and heads lie one after another, and so does
  // what is new. An own chunk meets the end of a ring once at most.
  const std::size_t bytes = sizes_.head_width * size_of(sizes_.cache);
  const std::size_t slot = static_cast<std::size_t>(done_) % capacity_;
  const std::size_t before_end = std::min(own_, capacity_ - slot);
  std::byte* to = ring(evaluation, 0, 0);
  const std::byte* from = new_cache_.data();
  for (std::size_t n = 2 * sizes_.layers * branches * sizes_.heads; n > 0; --n) {
    std::memcpy(to + slot * bytes, from, before_end * bytes);
    std::memcpy(to, from + before_end * bytes, (own_ - before_end) * bytes);
    to += capacity_ * bytes;
    from += frames * bytes;
  }
}

void StreamMemory::begin(bool clean) {
  same_reply_ = false;
  if (!clean) return;
  std::fill(rings_.cache.begin(), rings_.cache.end(), std::byte{});
}

void StreamMemory::commit(std::int64_t done, bool alive) {
  committed_ = done;
  committed_alive_ = alive;
  same_reply_ = true;
  is_saved_ = false;
}

void StreamMemory::rollback() {
  if (is_saved_) std::swap(rings_, saved_);
  is_saved_ = false;
  same_reply_ = true;
}

}  // namespace parley
