// What evaluations of the flow's field recall: nothing, a voice prompt, a stream's past; no codes.
#include "stages/flow/memory.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace parley {

namespace {

// Finite in half precision too; the softmax of such a score is exactly zero.
constexpr float kMasked = -1e4F;

std::int64_t signed_size(std::size_t n) {
  return static_cast<std::int64_t>(n);
}

std::size_t f32_bytes(std::size_t n) {
  return n * sizeof(float);
}

std::size_t branches_of(const FlowPlan& plan) {
  std::size_t n = 0;
  for (const FlowEvaluation& evaluation : plan) n += evaluation.branches();
  return n;
}

template <typename T>
void transpose(const void* in, void* out, std::size_t rows, std::size_t columns) {
  const T* from = static_cast<const T*>(in);
  T* to = static_cast<T*>(out);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
}

}  // namespace

WholeRun::WholeRun(const FieldSizes& sizes, const FlowPlan& plan, std::size_t max_frames)
    : sizes_(sizes),
      plan_(plan),
      memory_(sizes),
      positions_(max_frames),
      zeros_(std::max(max_frames, 2 * sizes.carried * sizes.carried_width)) {
  std::iota(positions_.begin(), positions_.end(), 0);
}

const FieldMemory& WholeRun::recall(std::size_t evaluation, std::size_t frames) {
  const std::int64_t branches = signed_size(plan_[evaluation].branches());
  const std::int64_t carried_width = signed_size(sizes_.carried_width);
  const std::int64_t heads = signed_size(sizes_.heads);
  const std::int64_t width = signed_size(sizes_.head_width);
  memory_.positions = view(positions_.data(), {signed_size(frames)});
  memory_.prompt_positions = memory_.positions;
  memory_.mask = view(zeros_.data(), {signed_size(frames)});
  memory_.carried = view(zeros_.data(), {branches, signed_size(sizes_.carried), carried_width});
  for (std::size_t i = 0; i < sizes_.layers; ++i) {
    memory_.prompt_keys[i] = {nullptr, sizes_.cache, {branches, heads, 0, width}};
    memory_.prompt_values[i] = {nullptr, sizes_.cache, {branches, heads, width, 0}};
    memory_.past_keys[i] = {nullptr, sizes_.cache, {branches, heads, 0, width}};
    memory_.past_values[i] = memory_.past_keys[i];
  }
  return memory_;
}

std::size_t PromptCache::bytes(const FieldSizes& sizes, const FlowPlan& plan, std::size_t frames) {
  const std::size_t rows = 2 * sizes.layers * frames * sizes.row_bytes();
  return branches_of(plan) * (rows + sizes.carried * sizes.carried_width * sizeof(float));
}

PromptMemory::PromptMemory(const FieldSizes& sizes, const FlowPlan& plan, std::size_t frames,
                           PromptCache& cache, const SetupProgress& progress)
    : WholeRun(sizes, plan, frames),
      cache_(cache),
      progress_(progress),
      rows_(f32_bytes(2 * sizes.rows_of(frames) * sizes.carried_width)),
      values_(2 * sizes.layers * frames * sizes.row_bytes()) {
  cache_.frames = frames;
  cache_.evaluations.resize(plan.size());
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const std::size_t branches = plan[i].branches();
    const std::size_t bytes = sizes.layers * branches * frames * sizes.row_bytes();
    cache_.evaluations[i] = {Memory(bytes), Memory(bytes),
                             Memory(f32_bytes(branches * sizes.carried * sizes.carried_width))};
  }
}

const FieldMemory& PromptMemory::recall(std::size_t evaluation, std::size_t frames) {
  WholeRun::recall(evaluation, frames);
  const std::size_t branches = plan_[evaluation].branches();
  const Shape by_head = {signed_size(branches), signed_size(sizes_.heads), signed_size(frames),
                         signed_size(sizes_.head_width)};
  const std::size_t layer_bytes = branches * frames * sizes_.row_bytes();
  for (std::size_t i = 0; i < sizes_.layers; ++i) {
    memory_.keys[i] =
        cache_.evaluations[evaluation].keys.view(i * layer_bytes, sizes_.cache, by_head);
    memory_.values[i] = values_.view(i * layer_bytes, sizes_.cache, by_head);
  }
  memory_.rows = rows_.view(0, DType::f32,
                            {signed_size(branches), signed_size(sizes_.rows_of(frames)),
                             signed_size(sizes_.carried_width)});
  return memory_;
}

void PromptMemory::keep(std::size_t evaluation) {
  transpose_values(evaluation);
  // A prompt shorter than the convolution's reach leaves zeros before it, as there are outside.
  const std::size_t rows = sizes_.rows_of(cache_.frames);
  const std::size_t n = std::min(sizes_.carried, rows);
  const std::size_t row_bytes = f32_bytes(sizes_.carried_width);
  Memory& kept = cache_.evaluations[evaluation].rows;
  for (std::size_t b = 0; b < plan_[evaluation].branches(); ++b) {
    kept.copy(((b + 1) * sizes_.carried - n) * row_bytes, rows_, ((b + 1) * rows - n) * row_bytes,
              n * row_bytes);
  }
  if (progress_) progress_(evaluation + 1, plan_.size());
}

// Values lie as the later matrix products read them.
void PromptMemory::transpose_values(std::size_t evaluation) {
  const Memory& values = cache_.evaluations[evaluation].values;
  const std::size_t head_bytes = cache_.frames * sizes_.head_width * size_of(sizes_.cache);
  const auto transposed =
      size_of(sizes_.cache) == sizeof(float) ? transpose<float> : transpose<std::uint16_t>;
  for (std::size_t at = 0; at < values.size(); at += head_bytes) {
    transposed(values_.view(at, sizes_.cache, {}).data, values.view(at, sizes_.cache, {}).data,
               cache_.frames, sizes_.head_width);
  }
}

std::vector<RowRings::Ring> StreamMemory::rings_of(const FieldSizes& sizes, const FlowPlan& plan,
                                                   std::size_t past) {
  std::vector<RowRings::Ring> rings;
  for (const FlowEvaluation& evaluation : plan) {
    const std::size_t branches = evaluation.branches();
    rings.push_back(
        {2 * sizes.layers * branches * sizes.heads, sizes.head_width * size_of(sizes.cache), past});
    rings.push_back({branches, f32_bytes(sizes.carried_width), sizes.carried});
  }
  return rings;
}

StreamMemory::StreamMemory(const FieldSizes& sizes, const FlowPlan& plan,
                           std::shared_ptr<const PromptCache> prompt, Frames frames)
    : sizes_(sizes),
      plan_(plan),
      prompt_(std::move(prompt)),
      frames_(frames),
      rings_(rings_of(sizes, plan, frames.past), frames.slack),
      capacity_(plan.empty() ? 0 : rings_.capacity(cache_ring(0))),
      memory_(sizes),
      positions_(frames.most),
      prompt_positions_(frames.most),
      mask_(capacity_ + frames.most),
      carried_(f32_bytes(2 * sizes.carried * sizes.carried_width)),
      new_rows_(f32_bytes(2 * sizes.rows_of(frames.most) * sizes.carried_width)),
      new_cache_(2 * sizes.layers * 2 * frames.most * sizes.row_bytes()) {}

std::size_t StreamMemory::bytes(const FieldSizes& sizes, const FlowPlan& plan, Frames frames) {
  std::size_t n = 0;
  for (const RowRings::Ring& ring : rings_of(sizes, plan, frames.past))
    n += ring.bytes(frames.slack);
  return n;
}

void StreamMemory::place(std::int64_t done, std::size_t own) {
  rings_.place(done + signed_size(own));
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
  const std::int64_t carried_width = signed_size(sizes_.carried_width);
  const std::int64_t heads = signed_size(sizes_.heads);
  const std::int64_t width = signed_size(sizes_.head_width);
  const std::int64_t prompt = signed_size(prompt_->frames);
  const std::int64_t rows = signed_size(capacity_ + frames);
  memory_.positions = view(positions_.data(), {signed_size(frames)});
  memory_.prompt_positions = view(prompt_positions_.data(), {signed_size(frames)});
  memory_.mask = view(mask_.data(), {rows});
  memory_.carried =
      carried_.view(0, DType::f32, {branches, signed_size(sizes_.carried), carried_width});
  const Shape own = {branches, heads, signed_size(frames), width};
  memory_.rows =
      new_rows_.view(0, DType::f32, {branches, signed_size(sizes_.rows_of(frames)), carried_width});
  const PromptCache::Evaluation& of_voice = prompt_->evaluations[evaluation];
  const std::size_t prompt_bytes = n_branches * prompt_->frames * sizes_.row_bytes();
  const std::size_t own_bytes = n_branches * frames * sizes_.row_bytes();
  const std::size_t blocks = n_branches * sizes_.heads;
  for (std::size_t i = 0; i < sizes_.layers; ++i) {
    memory_.prompt_keys[i] =
        of_voice.keys.view(i * prompt_bytes, sizes_.cache, {branches, heads, prompt, width});
    memory_.prompt_values[i] =
        of_voice.values.view(i * prompt_bytes, sizes_.cache, {branches, heads, width, prompt});
    const Shape past = {branches, heads, signed_size(capacity_), width};
    const auto past_of = [&](std::size_t part) {
      return rings_.view(cache_ring(evaluation), (2 * i + part) * blocks, sizes_.cache, past);
    };
    memory_.past_keys[i] = past_of(0);
    memory_.past_values[i] = past_of(1);
    if (capacity_ == 0) continue;
    memory_.keys[i] = new_cache_.view(2 * i * own_bytes, sizes_.cache, own);
    memory_.values[i] = new_cache_.view((2 * i + 1) * own_bytes, sizes_.cache, own);
  }
  return memory_;
}

// The rows right before the own ones: the reply's, and before its begin the prompt's.
void StreamMemory::gather_carried(std::size_t evaluation) {
  const std::size_t row_bytes = f32_bytes(sizes_.carried_width);
  const Memory& of_voice = prompt_->evaluations[evaluation].rows;
  for (std::size_t b = 0; b < plan_[evaluation].branches(); ++b) {
    for (std::size_t i = 0; i < sizes_.carried; ++i) {
      const std::size_t to = (b * sizes_.carried + i) * row_bytes;
      const std::int64_t frame = done_ - signed_size(sizes_.carried) + signed_size(i);
      if (frame >= 0) {
        rings_.read(row_ring(evaluation), b, frame, carried_, to);
      } else {
        const auto last = static_cast<std::size_t>(frame + signed_size(sizes_.carried));
        carried_.copy(to, of_voice, (b * sizes_.carried + last) * row_bytes, row_bytes);
      }
    }
  }
}

void StreamMemory::keep(std::size_t evaluation) {
  const auto frames = static_cast<std::size_t>(memory_.positions.shape[0]);
  const auto rows = static_cast<std::size_t>(memory_.rows.shape[1]);
  const std::size_t kept = sizes_.only_carried ? std::min(rows, own_) : own_;
  rings_.write(row_ring(evaluation), done_ + signed_size(own_ - kept), kept, new_rows_, rows);
  rings_.write(cache_ring(evaluation), done_, own_, new_cache_, frames);
}

}  // namespace parley
