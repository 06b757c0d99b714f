// Runs the GPU form of snakebeta on the CPU, a thread after another; knows no GPU.
#include <algorithm>
#include <limits>
#include <memory>

#include "kernels/snakebeta/snakebeta_cuda.h"

// As the kernel's launch, with the threads of a block between two barriers in descending order.
extern "C" const char* parley_snakebeta_forward_cuda(const parley_snakebeta_window* window,
                                                     const float* x, const float* alpha,
                                                     const float* beta, size_t rows, float* out,
                                                     void*) {
  using namespace snakebeta;
  const Grid grid(*window);
  const auto shared = std::make_unique<Shared>();
  for (int64_t index = 0; index < grid.tiles() * static_cast<int64_t>(rows); ++index) {
    std::fill_n(shared->x, sizeof(Shared) / sizeof(float), std::numeric_limits<float>::quiet_NaN());
    const Block block = grid.block(index);
    for (int step = 0; step < kSteps; ++step) {
      for (int thread = kThreads - 1; thread >= 0; --thread) {
        block.run(step, thread, x, alpha, beta, *shared, out);
      }
    }
  }
  return nullptr;
}
