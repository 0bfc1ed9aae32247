// The path through labels on a CUDA device; as that of CudaRenderer, this header needs no CUDA.
#pragma once

#include <memory>

#include "fluoropose/drr/cuda_renderer.h"

namespace fluoropose {

// A label map in the memory of the CUDA device that is current when it is made. What CudaRenderer says of streams,
// graphs and poses holds here, too.
class CudaLabels {
 public:
  // count: labels above 0. Throws std::runtime_error where there is no device or CUDA reports an error.
  CudaLabels(const Grid<Label>& grid, int count);
  ~CudaLabels();

  int device() const;

  // paths: (n, count, height, width) mm.
  void render(const Placements& at, float* paths, void* stream) const;
  // The same in host memory, of poses in host memory; waits.
  void render_to_host(const Placements& at, float* paths) const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace fluoropose
