// Kernels that plan images: how the rays of each go through a grid.
#pragma once

#include "workspace.cuh"

namespace fluoropose::cuda {

// Views with poses, small enough for a kernel's arguments: nothing need be copied before, and a CUDA graph keeps them.
struct PlacementBatch {
  static constexpr int kMost = 12;
  View views[kMost];
  Affine3<double> world_from_bone[kMost];
};

// Of a block that plans: one warp for the way, one for each frame that may be needed. A single thread with all of it
// takes twice as long.
constexpr int kPlanWarps = 7;

// Plans an image with the threads of a block of kPlanWarps warps. levers: of the image's own slices.
__device__ inline void plan_image(const View& view, const Affine3<double>& world_from_bone, const GridFrame& grid,
                                  Method method, RayJob* job, float* levers) {
  __shared__ PoseFrame frames[2][3];  // of slices and of slabs across each axis
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0 && warp == 0) plan_way(view, world_from_bone, grid, method, *job);
  if (lane == 0 && warp > 0) {
    const int axis = (warp - 1) % 3, of_slabs = (warp - 1) / 3;
    frames[of_slabs][axis] = plan_frame(view, world_from_bone, grid, axis, of_slabs == 1);
  }
  __syncthreads();
  if (lane == 0 && warp < 3) job->frames[warp] = frames[shears(*job, warp)][warp];
  if (job->way != Way::kShear) return;
  const int count = component(grid.slabs[job->plan.axis].size, job->plan.axis);
  for (int k = static_cast<int>(threadIdx.x); k < count; k += static_cast<int>(blockDim.x)) {
    levers[k] = slice_map(job->plan, k).lever;
  }
}

// Plans the images first, first + 1, ..., one per block. matrices: (n, 4, 4), used instead of the poses where not null.
static __global__ void plan_kernel(const __grid_constant__ PlacementBatch placed, const double* matrices, int first,
                                   const __grid_constant__ GridFrame grid, Method method, RayJob* jobs, float* levers,
                                   int levers_stride) {
  const std::size_t image = first + blockIdx.x;
  const Affine3<double> pose = matrices ? affine_of(matrices + image * 16) : placed.world_from_bone[blockIdx.x];
  plan_image(placed.views[blockIdx.x], pose, grid, method, jobs + image, levers + image * levers_stride);
}

// Plans the images first, first + 1, ... of every pose one per view, to jobs 0, 1, ...; one per block.
static __global__ void plan_on_device_kernel(const View* views, int view_count, const Affine3<double>* world_from_bone,
                                             int first, const __grid_constant__ GridFrame grid, Method method,
                                             RayJob* jobs, float* levers, int levers_stride) {
  const int image = first + static_cast<int>(blockIdx.x);
  plan_image(views[image % view_count], world_from_bone[image / view_count], grid, method, jobs + blockIdx.x,
             levers + static_cast<std::size_t>(blockIdx.x) * levers_stride);
}

}  // namespace fluoropose::cuda
