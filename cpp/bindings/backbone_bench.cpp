// The backbone beside llama.cpp's own loop, for `parley bench`; converts, does nothing else.
#include "bench/backbone_bench.h"

#include "bindings.h"

namespace parley::bindings {

namespace {

using Ids = std::vector<std::int32_t>;
using Range = std::pair<std::int32_t, std::int32_t>;

py::tuple tuple_of(const Spent& spent) {
  return py::make_tuple(spent.wall_ms, spent.cpu_ms);
}

py::list converse(BackboneBench& bench, std::int64_t prompt, std::int64_t window,
                  std::int64_t context, const std::vector<int>& pattern, int n_chunks) {
  const auto speaks = std::make_unique<bool[]>(pattern.size());
  for (std::size_t i = 0; i < pattern.size(); ++i) speaks[i] = pattern[i] != 0;
  const auto chunks = released([&] {
    return bench.converse({prompt, window, context}, {speaks.get(), pattern.size()}, n_chunks);
  });
  py::list rows;
  for (const BackboneBench::Chunk& chunk : chunks)
    rows.append(py::make_tuple(chunk.spent.wall_ms, chunk.spent.cpu_ms, chunk.speaking,
                               chunk.evicted, chunk.rebased));
  return rows;
}

}  // namespace

void register_backbone_bench(py::module_& module) {
  py::class_<BackboneBench, Held<BackboneBench>>(module, "BackboneBench")
      .def(py::init([](const std::string& gguf, const std::string& llama, const std::string& device,
                       const std::string& kv, int threads, std::int64_t n_cells) {
             return released([&] {
               return new BackboneBench(gguf,
                                        BackboneBenchOptions{llama, device, kv, threads, n_cells});
             });
           }),
           py::arg("gguf"), py::kw_only(), py::arg("llama") = "", py::arg("device") = "cpu",
           py::arg("kv") = "f16", py::arg("threads") = 1, py::arg("n_cells") = 1024)
      .def_property_readonly("vocab_size", &BackboneBench::vocab_size)
      .def_property_readonly("width", &BackboneBench::width)
      .def("tokenize", &BackboneBench::tokenize, py::arg("text"), py::arg("special"))
      .def(
          "read",
          [](BackboneBench& b, const Floats& rows) {
            const auto logits = b.read(span_of(rows));
            return array_of({logits.begin(), logits.end()});
          },
          py::arg("rows"))
      .def(
          "ours",
          [](BackboneBench& b, const Ids& ids, Range slot) {
            return tuple_of(released([&] { return b.ours(ids, {slot.first, slot.second}); }));
          },
          py::arg("ids"), py::arg("slot"))
      .def(
          "plain",
          [](BackboneBench& b, const Ids& ids) {
            return tuple_of(released([&] { return b.plain(ids); }));
          },
          py::arg("ids"))
      .def(
          "embed",
          [](BackboneBench& b, const Ids& ids) {
            return tuple_of(released([&] { return b.embed(ids); }));
          },
          py::arg("ids"))
      .def_static(
          "draws",
          [](std::int32_t vocab_size, Range slot, int n) {
            return tuple_of(released(
                [&] { return BackboneBench::draws(vocab_size, {slot.first, slot.second}, n); }));
          },
          py::arg("vocab_size"), py::arg("slot"), py::arg("n"))
      .def("converse", &converse, py::arg("prompt"), py::arg("window"), py::arg("context"),
           py::arg("pattern"), py::arg("n_chunks"));
}

}  // namespace parley::bindings
