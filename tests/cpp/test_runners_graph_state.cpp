// Tests of what a stream keeps of a graph: moments of tensors, rings of rows, saved and taken up.
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "count_allocations.h"
#include "fake_runners.h"
#include "runners/graph_state.h"

using namespace parley;

namespace {

using Specs = std::vector<TensorSpec>;

std::shared_ptr<fake::Graph> graph_of(const Specs& inputs, const Specs& outputs) {
  return std::make_shared<fake::Graph>(inputs, outputs, [](fake::Tensors, fake::Tensors) {});
}

std::vector<StateSpec> specs() {
  return {{{"n", DType::i64, {1}}, 7.0}, {{"x", DType::f32, {2, 3}}, 0.5}};
}

std::int64_t& number(const TensorView& view) {
  return *static_cast<std::int64_t*>(view.data);
}
float* values(const TensorView& view) {
  return static_cast<float*>(view.data);
}

// A run: counts, and adds the count to the values.
void run(WholeTensors& tensors) {
  const std::int64_t n = number(tensors.current(0)) + 1;
  number(tensors.next(0)) = n;
  for (std::size_t i = 0; i < 6; ++i)
    values(tensors.next(1))[i] = values(tensors.current(1))[i] + static_cast<float>(n);
  tensors.step();
}

// Rows of a stream with their numbers in them, in a ring of two blocks and one of a block.
struct Stream {
  static constexpr std::size_t kSlack = 3;
  RowRings rings{{{2, sizeof(std::int64_t), 4}, {1, sizeof(std::int64_t), 0}}, kSlack};
  std::int64_t end = 0;

  void add(std::size_t n, std::int64_t mark = 0) {
    rings.place(end + static_cast<std::int64_t>(n));
    Memory rows(2 * (n + 1) * sizeof(std::int64_t));
    for (std::int64_t block = 0; block < 2; ++block) {
      for (std::size_t i = 0; i <= n; ++i) {
        const std::int64_t value = block * 1000 + end + static_cast<std::int64_t>(i) + mark;
        rows.write((static_cast<std::size_t>(block) * (n + 1) + i) * sizeof(value),
                   std::as_bytes(std::span(&value, 1)));
      }
    }
    rings.write(0, end, n, rows, n + 1);
    rings.write(1, end, n, rows, n + 1);
    end += static_cast<std::int64_t>(n);
  }
  std::int64_t row(std::int64_t block, std::int64_t i) const {
    Memory one(sizeof(std::int64_t));
    rings.read(0, static_cast<std::size_t>(block), i, one, 0);
    return number(one.view(0, DType::i64, {1}));
  }
  bool holds(std::int64_t mark = 0) const {
    for (std::int64_t i = std::max<std::int64_t>(end - 4, 0); i < end; ++i)
      for (std::int64_t block = 0; block < 2; ++block)
        if (row(block, i) != block * 1000 + i + mark) return false;
    return true;
  }
};

}  // namespace

TEST(states_are_found_by_their_names) {
  const auto graph = graph_of(
      {{"state_in.b", DType::f32, {2}}, {"x", DType::f32, {1}}, {"state_in.a", DType::i64, {1}}},
      {{"state_out.a", DType::i64, {1}}, {"y", DType::f32, {1}}, {"state_out.b", DType::f32, {2}}});
  const GraphStates states(*graph, "state_in.", "state_out.");
  REQUIRE(states.specs().size() == 2);
  CHECK_EQ(states.specs()[0].tensor.name, "b");
  CHECK_EQ(states.input(0), 0U);
  CHECK_EQ(states.output(0), 2U);
  CHECK_EQ(states.input(1), 2U);
  CHECK_EQ(states.output(1), 0U);
}

TEST(states_without_a_fixed_partner_are_named) {
  const auto refuse = [](const TensorSpec& in, const TensorSpec& out) {
    CHECK_THROWS_MSG(BundleError, "state s", GraphStates(*graph_of({in}, {out}), "in.", "out."));
  };
  refuse({"in.s", DType::f32, {2}}, {"out.t", DType::f32, {2}});
  refuse({"in.s", DType::f32, {2}}, {"out.s", DType::i64, {2}});
  refuse({"in.s", DType::f32, {2}}, {"out.s", DType::f32, {3}});
  refuse({"in.s", DType::f32, {-1}}, {"out.s", DType::f32, {-1}});
}

TEST(tensors_begin_with_their_initial_values) {
  WholeTensors tensors(specs(), WholeTensors::Runs::one);
  CHECK_EQ(number(tensors.current(0)), 7);
  CHECK_EQ(values(tensors.current(1))[5], 0.5F);
  run(tensors);
  tensors.commit();
  CHECK_EQ(number(tensors.current(0)), 8);
  tensors.reset();
  CHECK_EQ(number(tensors.current(0)), 7);
}

TEST(moments_are_taken_back) {
  WholeTensors tensors(specs(), WholeTensors::Runs::many);
  run(tensors);
  tensors.commit();
  run(tensors);
  tensors.mark();
  run(tensors);
  run(tensors);
  CHECK_EQ(number(tensors.current(0)), 11);
  tensors.back();
  CHECK_EQ(number(tensors.current(0)), 9);
  tensors.clear();
  CHECK_EQ(number(tensors.current(0)), 7);
  run(tensors);
  tensors.rollback();
  CHECK_EQ(number(tensors.current(0)), 8);
  CHECK_EQ(values(tensors.current(1))[0], 8.5F);
  const long n = check::allocations([&] {
    for (int i = 0; i < 30; ++i) {
      if (i % 5 == 0) tensors.mark();
      run(tensors);
      if (i % 7 == 0) tensors.back();
      if (i % 11 == 0) tensors.clear();
      i % 3 == 0 ? tensors.commit() : i % 3 == 1 ? tensors.rollback() : tensors.mark();
    }
  });
  CHECK_EQ(n, 0);
}

TEST(tensors_are_saved_as_committed) {
  WholeTensors tensors(specs(), WholeTensors::Runs::many);
  run(tensors);
  tensors.commit();
  run(tensors);
  ByteWriter bytes;
  tensors.save(bytes);
  WholeTensors other(specs(), WholeTensors::Runs::many);
  run(other);
  ByteReader reader(bytes.bytes());
  other.load(reader);
  CHECK_EQ(reader.left(), 0U);
  CHECK_EQ(number(other.current(0)), 8);
  run(other);
  other.rollback();
  CHECK_EQ(number(other.current(0)), 8);
  WholeTensors larger({{{"x", DType::f32, {100}}, 0.0}}, WholeTensors::Runs::one);
  ByteReader again(bytes.bytes());
  CHECK_THROWS_MSG(InputError, "[state.load] expected 448 values", larger.load(again));
}

TEST(rings_hold_what_is_seen_in_any_cut) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    Stream stream;
    for (int step = 0; step < 40; ++step) {
      const std::int64_t before = stream.end;
      if (random() % 3 == 0) {  // comes to nothing: longer and shorter than the slack
        if (random() % 3 == 0) {
          stream.rings.begin(random() % 2 == 0);
          stream.end = 0;
        }
        for (std::uint32_t i = random() % 4; i > 0; --i) stream.add(random() % 5, 5000);
        stream.rings.rollback();
        stream.end = before;
        CHECK(stream.holds());
      }
      stream.add(random() % 5);
      CHECK(stream.holds());
      stream.rings.commit(stream.end, true);
      if (random() % 12 == 0) {
        stream.rings.begin(false);
        stream.end = 0;
      }
    }
  }
}

TEST(rings_are_saved_as_committed) {
  for (const std::size_t beyond : {0U, 1U, 4U}) {
    Stream stream;
    for (int i = 0; i < 5; ++i) {
      stream.add(3);
      stream.rings.commit(stream.end, true);
    }
    for (std::size_t i = 0; i < beyond; ++i) stream.add(2, 5000);
    ByteWriter bytes;
    stream.rings.save(bytes);
    Stream other;
    other.add(4, 900);
    ByteReader reader(bytes.bytes());
    other.rings.load(reader);
    other.end = 15;
    CHECK(other.holds());
    other.add(4, 5000);
    other.add(4, 5000);
    other.rings.rollback();
    other.end = 15;
    CHECK(other.holds());
  }
}

TEST(rings_refuse_a_count_that_makes_no_sense) {
  for (const std::int64_t end : {std::int64_t{-1}, std::int64_t{1} << 62U}) {
    ByteWriter bytes;
    bytes.put(end);
    bytes.put_flag(false);
    ByteReader reader(bytes.bytes());
    Stream stream;
    CHECK_THROWS_MSG(InputError, "a count of rows", stream.rings.load(reader));
  }
}
