// What one stream keeps of a graph from run to run; knows no stage and no library.
//
// Two kinds: whole tensors, of which a run reads one moment and writes the next, and rings of rows,
// which a run's new rows are added to. All of it lies in Memory, the one place that knows where.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/tensor.h"
#include "runners/runner.h"

namespace parley {

// Bytes that graphs read and write in place. They lie in the host's memory; whoever goes through
// view(), write(), read() and copy() alone need not know.
class Memory {
 public:
  Memory() = default;
  explicit Memory(std::size_t bytes) : bytes_(bytes) {}

  std::size_t size() const { return bytes_.size(); }
  // As an input or an output of a graph, from byte `offset` on.
  TensorView view(std::size_t offset, DType type, const Shape& shape) const;
  void clear();
  void write(std::size_t offset, std::span<const std::byte> from);
  void read(std::size_t offset, std::span<std::byte> to) const;
  // n bytes of another memory.
  void copy(std::size_t offset, const Memory& from, std::size_t from_offset, std::size_t n);

  void save(ByteWriter& to) const { to.put_all(std::span(bytes_)); }
  void load(ByteReader& from) { from.get_all(std::span(bytes_)); }

 private:
  std::vector<std::byte> bytes_;
};

// A state of a graph as the manifest describes it; the engine does not look inside.
struct StateSpec {
  TensorSpec tensor;  // without the state_in. / state_out. prefix; a fixed shape
  double initial = 0.0;
};

// The states that a graph has: inputs and outputs of one name behind these prefixes.
class GraphStates {
 public:
  GraphStates() = default;
  // Throws BundleError where an input has no output of its name, type and shape, or no fixed shape.
  GraphStates(const GraphRunner& graph, const std::string& in, const std::string& out);

  const std::vector<StateSpec>& specs() const { return specs_; }
  std::vector<StateSpec>& specs() { return specs_; }
  // Where state i stands among the graph's inputs and outputs.
  std::size_t input(std::size_t i) const { return inputs_[i]; }
  std::size_t output(std::size_t i) const { return outputs_[i]; }

 private:
  std::vector<StateSpec> specs_;
  std::vector<std::size_t> inputs_;
  std::vector<std::size_t> outputs_;
};

// Whole tensors, all of one moment at a time. Moments are numbers, so none is ever copied.
class WholeTensors {
 public:
  // `runs_between_commits`: one, or any number, with marks and clear().
  enum class Runs : std::uint8_t { one, many };
  WholeTensors(const std::vector<StateSpec>& specs, Runs runs_between_commits);

  std::size_t size() const { return specs_.size(); }
  // Of tensor i: what the next run reads, and where it writes.
  TensorView current(std::size_t i) const { return view(current_, i); }
  TensorView next(std::size_t i) const { return view(free(), i); }
  // Gives both to a run.
  void bind(const GraphStates& states, std::span<TensorView> inputs,
            std::span<TensorView> outputs) const;
  // What the run wrote is current.
  void step() { current_ = free(); }
  // Current is the initial value.
  void clear();
  // Current is what is current of `other`, which has the same tensors.
  void take(const WholeTensors& other);
  // back() makes current what it was at mark(), where several runs belong together.
  void mark() { mark_ = current_; }
  void back() { current_ = mark_; }

  void commit() { committed_ = mark_ = current_; }
  void rollback() { current_ = mark_ = committed_; }
  void reset();
  void save(ByteWriter& to) const { moments_[committed_].save(to); }
  void load(ByteReader& from);

 private:
  TensorView view(std::size_t moment, std::size_t i) const;
  std::size_t free() const;
  void fill(std::size_t moment);

  std::vector<StateSpec> specs_;
  std::vector<std::size_t> offsets_;
  Memory initial_;
  std::vector<Memory> moments_;
  std::size_t committed_ = 0;
  std::size_t mark_ = 0;
  std::size_t current_ = 0;
};

// Rings of rows that a stream adds to, all at the same pace. Row r always lies at r mod capacity,
// so sums over a ring have one order however a stream was cut. Rings hold `slack` rows more than
// is seen: what is written between two commits seldom touches what a rollback needs, and where it
// would, all of it is put aside first.
class RowRings {
 public:
  struct Ring {
    std::size_t blocks = 0;  // each with its own rows: layers, branches, heads
    std::size_t row_bytes = 0;
    std::size_t seen = 0;  // rows that are read back; 0: nothing is kept
    std::size_t capacity(std::size_t slack) const { return seen > 0 ? seen + slack : 0; }
    std::size_t bytes(std::size_t slack) const { return blocks * row_bytes * capacity(slack); }
  };
  RowRings(std::vector<Ring> rings, std::size_t slack);

  std::size_t capacity(std::size_t ring) const { return rings_[ring].capacity(slack_); }
  // [blocks, capacity, row] from block `block` on; `shape` is the graph's way to say so.
  TensorView view(std::size_t ring, std::size_t block, DType type, const Shape& shape) const;

  // The stream begins anew, at row 0. `clean`: nothing of the rows before may stay.
  void begin(bool clean);
  // Before rows up to `end` are written.
  void place(std::int64_t end);
  // Rows first to first + n of each block, from the first n of `from_rows` of [blocks, from_rows,
  // row]; n is at most a ring's capacity.
  void write(std::size_t ring, std::int64_t first, std::size_t n, const Memory& from,
             std::size_t from_rows);
  // Row `row` of a block to byte `offset` of `to`.
  void read(std::size_t ring, std::size_t block, std::int64_t row, Memory& to,
            std::size_t offset) const;

  // The stream has `end` rows; `alive`: it may go on.
  void commit(std::int64_t end, bool alive);
  void rollback();
  void save(ByteWriter& to) const;
  void load(ByteReader& from);

 private:
  std::size_t place_of(std::size_t ring, std::size_t block, std::int64_t row) const;

  std::vector<Ring> rings_;
  std::size_t slack_ = 0;
  std::vector<std::size_t> offsets_;
  Memory rows_;
  Memory aside_;  // as of the last commit, where is_aside_
  bool is_aside_ = false;
  bool same_stream_ = true;  // as that of the last commit
  bool committed_alive_ = false;
  std::int64_t committed_ = 0;  // rows
};

}  // namespace parley
