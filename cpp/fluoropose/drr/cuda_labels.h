// The path through labels on a CUDA device; as CudaRenderer, this header needs no CUDA.
#pragma once

#include <memory>

#include "fluoropose/drr/cuda_renderer.h"

namespace fluoropose {

class CudaLabels {
 public:
  // count: labels above 0. Throws std::runtime_error where there is no device or CUDA reports an error.
  CudaLabels(const Grid<Label>& grid, int count);
  ~CudaLabels();

  // paths: (n, count, height, width) mm, in host memory.
  void render(const Placements& at, float* paths) const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace fluoropose
