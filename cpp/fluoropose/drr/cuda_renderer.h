// The renderers on a CUDA device. This header needs no CUDA; without a build for it, no device is ever found.
#pragma once

#include <memory>

#include "fluoropose/drr/images.h"
#include "fluoropose/drr/shear_warp.h"

namespace fluoropose {

bool built_with_cuda();

// Devices that can be used: 0 without one, without a driver or without a build for CUDA.
int cuda_device_count();

// How rays go through a grid: sheared along the plan, or cast one by one as the view has them.
struct RayJob {
  const VoxelView& view;    // as the grid sees it
  const ShearPlan* plan;    // through the slabs of its axis; null for ray casting
  const PoseFrame* frames;  // of the plan's axis, or of all three
  bool trilinear;           // rather than Joseph's method
};

// A grid in the memory of the current CUDA device. Calls from several threads take turns.
class CudaRenderer {
 public:
  // Throws std::runtime_error where there is no device or CUDA reports an error; so do the others.
  template <typename Voxel>
  explicit CudaRenderer(const Grid<Voxel>& grid);
  ~CudaRenderer();

  // Fill the images of out, in host memory, that are not null.
  void render(const RayJob& job, const DrrImages& out) const;
  // Hand image and derivative to sink, row by row, in host memory.
  void render_jacobian(const RayJob& job, const JacobianSink& sink) const;

  // The same in device memory, in the order of the caller's stream (a cudaStream_t). They do not wait and, after a
  // first call of the same size, allocate nothing, so that a CUDA graph can hold them.
  void enqueue(const RayJob& job, const DrrImages& out, void* stream) const;
  // d cost / d pose (6), given by_pixel (height, width), the derivative of a cost with respect to the image.
  void enqueue_pose_gradient(const RayJob& job, const float* by_pixel, double* gradient, void* stream) const;

  class State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace fluoropose
