// A graph that shows somebody what it is about to read, and then runs as ever.
#include "bundle/watched_graph.h"

#include <utility>
#include <vector>

namespace parley {

namespace {

class WatchedGraph final : public GraphRunner {
 public:
  WatchedGraph(std::string name, std::shared_ptr<const GraphRunner> graph, RunHook on_run)
      : name_(std::move(name)), graph_(std::move(graph)), on_run_(std::move(on_run)) {}

  const std::vector<TensorSpec>& inputs() const override { return graph_->inputs(); }
  const std::vector<TensorSpec>& outputs() const override { return graph_->outputs(); }

  void run(std::span<const TensorView> inputs, std::span<const TensorView> outputs,
           const StopFlag& stop) const override {
    std::vector<GraphInput> shown;
    for (std::size_t i = 0; i < inputs.size() && i < graph_->inputs().size(); ++i) {
      const Shape& shape = inputs[i].shape;
      shown.push_back({graph_->inputs()[i].name,
                       name_of(inputs[i].type),
                       {shape.dims.data(), static_cast<std::size_t>(shape.rank)},
                       inputs[i].data});
    }
    on_run_(name_, shown);
    graph_->run(inputs, outputs, stop);
  }

 private:
  std::string name_;
  std::shared_ptr<const GraphRunner> graph_;
  RunHook on_run_;
};

}  // namespace

std::shared_ptr<const GraphRunner> watched(std::string name,
                                           std::shared_ptr<const GraphRunner> graph,
                                           RunHook on_run) {
  return std::make_shared<const WatchedGraph>(std::move(name), std::move(graph), std::move(on_run));
}

}  // namespace parley
