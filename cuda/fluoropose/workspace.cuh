// What kernels see of a grid and of the memory they work in. A launch makes as many images as its grid is deep: image n
// of it is job n's.
#pragma once

#include <cuda_runtime.h>

#include "fluoropose/drr/ray_job.h"
#include "fluoropose/drr/shear_warp.h"
#include "fluoropose/volume/bricks.h"

namespace fluoropose::cuda {

constexpr int kBlockWidth = 16, kBlockHeight = 8;

template <typename Voxel>
struct DeviceGrid {
  Slices<Voxel> across[3];  // neighbours along a side by side
  Slices<Voxel> slabs[3];   // of shear-warp only
  Bricks bricks;
  Vec3<int> size;      // voxels, rim included
  Vec3<float> origin;  // the bone's, voxels
};

struct Workspace {
  const RayJob* jobs;
  const SliceMap* maps;  // (n, maps_stride)
  int maps_stride;
  float* planes;  // (n, planes_per_image, plane_size): intermediate images
  int planes_per_image;
  std::size_t plane_size;

  __device__ const RayJob& job() const { return jobs[blockIdx.z]; }
  __device__ const SliceMap* image_maps() const { return maps + static_cast<std::size_t>(blockIdx.z) * maps_stride; }
  __device__ float* plane(int i) const {
    return planes + (static_cast<std::size_t>(blockIdx.z) * planes_per_image + i) * plane_size;
  }
};

// Calls use(u, v) for the thread's share of the pixels of an image, whatever the number of blocks.
template <typename Use>
__device__ void for_each_pixel(int width, int height, const Use& use) {
  const int per_row = (width + kBlockWidth - 1) / kBlockWidth;
  const int tiles = per_row * ((height + kBlockHeight - 1) / kBlockHeight);
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x)) {
    const int u = tile % per_row * kBlockWidth + static_cast<int>(threadIdx.x);
    const int v = tile / per_row * kBlockHeight + static_cast<int>(threadIdx.y);
    if (u < width && v < height) use(u, v);
  }
}

__device__ inline std::size_t image_offset(const RayJob& job) {
  return static_cast<std::size_t>(blockIdx.z) * job.view.width * job.view.height;
}

// Views with poses, small enough for a kernel's arguments: nothing need be copied before, and a CUDA graph keeps them.
struct Placed {
  static constexpr int kMost = 12;
  View views[kMost];
  Affine3<double> world_from_bone[kMost];
};

// Plans an image with the threads of a block. maps: (maps_stride), the image's own.
__device__ inline void plan_image(const View& view, const Affine3<double>& world_from_bone, const GridFrame& grid,
                                  Method method, RayJob* job, SliceMap* maps) {
  if (threadIdx.x == 0) *job = ray_job(view, world_from_bone, grid, method);
  __syncthreads();
  if (job->way != Way::kShear) return;
  const int count = component(grid.slabs[job->plan.axis].size, job->plan.axis);
  for (int k = static_cast<int>(threadIdx.x); k < count; k += static_cast<int>(blockDim.x)) {
    maps[k] = slice_map(job->plan, k);
  }
}

// Plans the images first, first + 1, ..., one per block. matrices: (n, 4, 4), used instead of the poses where not null.
static __global__ void plan_kernel(const __grid_constant__ Placed placed, const double* matrices, int first,
                                   const __grid_constant__ GridFrame grid, Method method, RayJob* jobs, SliceMap* maps,
                                   int maps_stride) {
  const std::size_t image = first + blockIdx.x;
  Affine3<double> pose = placed.world_from_bone[blockIdx.x];
  if (matrices) {
    const double* m = matrices + image * 16;
    pose = {{m[0], m[1], m[2]}, {m[4], m[5], m[6]}, {m[8], m[9], m[10]}, {m[3], m[7], m[11]}};
  }
  plan_image(placed.views[blockIdx.x], pose, grid, method, jobs + image, maps + image * maps_stride);
}

// Plans the images first, first + 1, ... of every pose one per view, to jobs 0, 1, ...; one per block.
static __global__ void plan_on_device_kernel(const View* views, int view_count, const Affine3<double>* world_from_bone,
                                             int first, const __grid_constant__ GridFrame grid, Method method,
                                             RayJob* jobs, SliceMap* maps, int maps_stride) {
  const int image = first + static_cast<int>(blockIdx.x);
  plan_image(views[image % view_count], world_from_bone[image / view_count], grid, method, jobs + blockIdx.x,
             maps + static_cast<std::size_t>(blockIdx.x) * maps_stride);
}

}  // namespace fluoropose::cuda
