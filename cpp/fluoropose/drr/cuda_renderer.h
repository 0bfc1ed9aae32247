// The renderers on a CUDA device. This header needs no CUDA; without a build for it, no device is ever found.
#pragma once

#include <memory>

#include "fluoropose/drr/images.h"
#include "fluoropose/drr/shear_warp.h"

namespace fluoropose {

bool built_with_cuda();

// Devices that can be used: 0 without one, without a driver or without a build for CUDA.
int cuda_device_count();

// A grid in the memory of the current CUDA device. Calls from several threads take turns.
class CudaRenderer {
 public:
  // Throws std::runtime_error where there is no device or CUDA reports an error; so do the others.
  template <typename Voxel>
  explicit CudaRenderer(const Grid<Voxel>& grid);
  ~CudaRenderer();

  // Fill the images of out, in host memory, that are not null.
  void ray_cast(const VoxelView& view, const DrrImages& out) const;
  void shear_warp(const ShearPlan& plan, int width, int height, const DrrImages& out) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fluoropose
