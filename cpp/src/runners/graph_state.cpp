// Moments of whole tensors and rings of rows over Memory; knows no stage and no library.
#include "runners/graph_state.h"

#include <algorithm>
#include <utility>

namespace parley {

namespace {

bool is_fixed(const std::vector<std::int64_t>& dims) {
  return dims.size() <= Shape::kMaxRank &&
         std::all_of(dims.begin(), dims.end(), [](std::int64_t d) { return d > 0; });
}

// Only for shapes that are fixed.
std::size_t bytes_of(const TensorSpec& spec) {
  return static_cast<std::size_t>(shape_of(spec.shape).count()) * size_of(spec.type);
}

// Where what follows may lie: kernels load whole vectors, and a number may not straddle.
std::size_t aligned(std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  return (bytes + kLine - 1) / kLine * kLine;
}

template <typename T>
void write_all(Memory& memory, std::size_t offset, std::size_t bytes, T value) {
  const std::vector<T> values(bytes / sizeof(T), value);
  memory.write(offset, std::as_bytes(std::span(values)));
}

}  // namespace

TensorView Memory::view(std::size_t offset, DType type, const Shape& shape) const {
  // One view type serves inputs, which are never written, and outputs.
  return {const_cast<std::byte*>(bytes_.data()) + offset, type, shape};
}

void Memory::clear() {
  std::fill(bytes_.begin(), bytes_.end(), std::byte{});
}

void Memory::write(std::size_t offset, std::span<const std::byte> from) {
  std::copy(from.begin(), from.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
}

void Memory::read(std::size_t offset, std::span<std::byte> to) const {
  std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), to.size(), to.begin());
}

void Memory::copy(std::size_t offset, const Memory& from, std::size_t from_offset, std::size_t n) {
  if (n > 0) std::memcpy(bytes_.data() + offset, from.bytes_.data() + from_offset, n);
}

GraphStates::GraphStates(const GraphRunner& graph, const std::string& in, const std::string& out) {
  const std::vector<TensorSpec>& outputs = graph.outputs();
  for (std::size_t i = 0; i < graph.inputs().size(); ++i) {
    const TensorSpec& input = graph.inputs()[i];
    if (!input.name.starts_with(in)) continue;
    const std::string name = input.name.substr(in.size());
    const auto output = std::find_if(outputs.begin(), outputs.end(), [&](const TensorSpec& t) {
      return t.name == out + name && t.type == input.type && t.shape == input.shape;
    });
    if (output == outputs.end() || !is_fixed(input.shape)) {
      throw BundleError("[graph.states] expected a fixed shape of at most " +
                        std::to_string(Shape::kMaxRank) + " dimensions for state " + name +
                        " and an output " + out + name + " like it, got another graph; export " +
                        "the bundle again");
    }
    specs_.push_back({{name, input.type, input.shape}, 0.0});
    inputs_.push_back(i);
    outputs_.push_back(static_cast<std::size_t>(output - outputs.begin()));
  }
}

WholeTensors::WholeTensors(const std::vector<StateSpec>& specs, Runs runs_between_commits)
    : specs_(specs) {
  std::size_t bytes = 0;
  for (const StateSpec& spec : specs_) {
    offsets_.push_back(bytes);
    bytes += aligned(bytes_of(spec.tensor));
  }
  // One to read and one to write; between commits the committed one and that of a mark as well.
  moments_.assign(runs_between_commits == Runs::one ? 2 : 4, Memory(bytes));
  initial_ = Memory(bytes);
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    const StateSpec& spec = specs_[i];
    if (spec.tensor.type == DType::f32)
      write_all(initial_, offsets_[i], bytes_of(spec.tensor), static_cast<float>(spec.initial));
    if (spec.tensor.type == DType::i64)
      write_all(initial_, offsets_[i], bytes_of(spec.tensor),
                static_cast<std::int64_t>(spec.initial));
  }
  reset();
}

TensorView WholeTensors::view(std::size_t moment, std::size_t i) const {
  return moments_[moment].view(offsets_[i], specs_[i].tensor.type,
                               shape_of(specs_[i].tensor.shape));
}

std::size_t WholeTensors::free() const {
  std::size_t i = 0;
  while (i == committed_ || i == mark_ || i == current_) ++i;
  return i;
}

void WholeTensors::bind(const GraphStates& states, std::span<TensorView> inputs,
                        std::span<TensorView> outputs) const {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    inputs[states.input(i)] = current(i);
    outputs[states.output(i)] = next(i);
  }
}

void WholeTensors::fill(std::size_t moment) {
  moments_[moment].copy(0, initial_, 0, initial_.size());
  current_ = moment;
}

void WholeTensors::clear() {
  fill(free());
}

void WholeTensors::take(const WholeTensors& other) {
  const std::size_t moment = free();
  moments_[moment].copy(0, other.moments_[other.current_], 0, initial_.size());
  current_ = moment;
}

void WholeTensors::reset() {
  fill(0);
  commit();
}

void WholeTensors::load(ByteReader& from) {
  reset();
  moments_[committed_].load(from);
}

RowRings::RowRings(std::vector<Ring> rings, std::size_t slack)
    : rings_(std::move(rings)), slack_(slack) {
  std::size_t bytes = 0;
  for (const Ring& ring : rings_) {
    offsets_.push_back(bytes);
    bytes += aligned(ring.bytes(slack_));
  }
  rows_ = Memory(bytes);
}

TensorView RowRings::view(std::size_t ring, std::size_t block, DType type,
                          const Shape& shape) const {
  return rows_.view(place_of(ring, block, 0), type, shape);
}

std::size_t RowRings::place_of(std::size_t ring, std::size_t block, std::int64_t row) const {
  const std::size_t capacity = rings_[ring].capacity(slack_);
  const std::size_t slot = capacity > 0 ? static_cast<std::size_t>(row) % capacity : 0;
  return offsets_[ring] + (block * capacity + slot) * rings_[ring].row_bytes;
}

void RowRings::begin(bool clean) {
  same_stream_ = false;
  if (!clean) return;
  // Rare, so it costs what it costs; a rollback has its rows.
  place(0);
  rows_.clear();
}

void RowRings::place(std::int64_t end) {
  const bool harms = !same_stream_ || end > committed_ + static_cast<std::int64_t>(slack_);
  if (!committed_alive_ || is_aside_ || !harms) return;
  if (aside_.size() == 0) aside_ = Memory(rows_.size());
  aside_.copy(0, rows_, 0, rows_.size());
  is_aside_ = true;
}

void RowRings::write(std::size_t ring, std::int64_t first, std::size_t n, const Memory& from,
                     std::size_t from_rows) {
  const std::size_t capacity = rings_[ring].capacity(slack_);
  if (capacity == 0) return;
  const std::size_t row_bytes = rings_[ring].row_bytes;
  // What is written meets the end of a ring once at most.
  const std::size_t slot = static_cast<std::size_t>(first) % capacity;
  const std::size_t before_end = std::min(n, capacity - slot);
  for (std::size_t block = 0; block < rings_[ring].blocks; ++block) {
    const std::size_t at = block * from_rows * row_bytes;
    rows_.copy(place_of(ring, block, first), from, at, before_end * row_bytes);
    rows_.copy(place_of(ring, block, 0), from, at + before_end * row_bytes,
               (n - before_end) * row_bytes);
  }
}

void RowRings::read(std::size_t ring, std::size_t block, std::int64_t row, Memory& to,
                    std::size_t offset) const {
  to.copy(offset, rows_, place_of(ring, block, row), rings_[ring].row_bytes);
}

void RowRings::commit(std::int64_t end, bool alive) {
  committed_ = end;
  committed_alive_ = alive;
  same_stream_ = true;
  is_aside_ = false;
}

void RowRings::rollback() {
  if (is_aside_) std::swap(rows_, aside_);
  is_aside_ = false;
  same_stream_ = true;
}

// Of a stream that is over nothing is read again.
void RowRings::save(ByteWriter& to) const {
  to.put(committed_);
  to.put_flag(committed_alive_);
  if (committed_alive_) (is_aside_ ? aside_ : rows_).save(to);
}

void RowRings::load(ByteReader& from) {
  const auto end = from.get<std::int64_t>();
  const bool alive = from.get_flag();
  ByteReader::require(end >= 0 && end < ByteReader::kMostCounted, "a count of rows");
  if (alive) rows_.load(from);
  commit(end, alive);
}

}  // namespace parley
