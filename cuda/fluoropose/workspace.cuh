// What kernels see of a grid and of the memory they work in. A launch makes as many images as its grid is deep: image n
// of it is job n's.
#pragma once

#include <cuda_runtime.h>

#include "fluoropose/drr/ray_job.h"
#include "fluoropose/drr/shear_warp.h"
#include "fluoropose/volume/bricks.h"

namespace fluoropose::cuda {

constexpr int kBlockWidth = 32, kBlockHeight = 4;
constexpr int kParts = 4;  // threads that share a ray, along z of a block

inline std::size_t volume_of(const Vec3<int>& size) { return static_cast<std::size_t>(size.x) * size.y * size.z; }

template <typename Voxel>
struct DeviceGrid {
  Slices<Voxel> across[3];  // neighbours along a side by side, see in_rows()
  Slices<Voxel> slabs[3];   // likewise; of shear-warp only
  Bricks bricks;
  int thickness[3];    // slices per slab
  Vec3<int> size;      // voxels, rim included
  Vec3<float> origin;  // the bone's, voxels
};

// Slices whose neighbours along a lie side by side, for the compiler to know.
template <typename Voxel>
__device__ Slices<Voxel> in_rows(Slices<Voxel> slices) {
  slices.strides.a = 1;
  return slices;
}

struct Workspace {
  const RayJob* jobs;
  const float* levers;  // (n, levers_stride), of the slices, see SliceMap
  int levers_stride;
  float* planes;  // (n, planes_per_image, plane_size): intermediate images
  int planes_per_image;
  std::size_t plane_size;

  __device__ const RayJob& job() const { return jobs[blockIdx.z]; }
  __device__ const float* image_levers() const { return levers + static_cast<std::size_t>(blockIdx.z) * levers_stride; }
  __device__ float* plane(int i) const {
    return planes + (static_cast<std::size_t>(blockIdx.z) * planes_per_image + i) * plane_size;
  }
};

// Calls use(i) for the thread's share of so many elements, whatever the number of blocks and their shape.
template <typename Use>
__device__ void for_each_element(unsigned count, const Use& use) {
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  for (unsigned i = blockIdx.x * threads + thread; i < count; i += gridDim.x * threads) use(i);
}

// Calls use(u, v, inside) for the thread's share of an image's tiles, whatever the number of blocks: as often for all
// threads of a block, also where the pixel lies beyond the image.
template <typename Use>
__device__ void for_each_place(int width, int height, const Use& use) {
  const int per_row = (width + kBlockWidth - 1) / kBlockWidth;
  const int tiles = per_row * ((height + kBlockHeight - 1) / kBlockHeight);
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x)) {
    const int u = tile % per_row * kBlockWidth + static_cast<int>(threadIdx.x);
    const int v = tile / per_row * kBlockHeight + static_cast<int>(threadIdx.y);
    use(u, v, u < width && v < height);
  }
}

// Calls use(u, v) for the thread's share of the pixels.
template <typename Use>
__device__ void for_each_pixel(int width, int height, const Use& use) {
  for_each_place(width, height, [&](int u, int v, bool inside) {
    if (inside) use(u, v);
  });
}

// Calls gather(u, v, part, parts) for the parts of the rays of the block's share of the pixels, and finish(u, v, sums)
// with the sums of the parts; all threads of the block must come here. Sums: has join(), and all zero is nothing.
template <typename Sums, typename Gather, typename Finish>
__device__ void for_each_ray(int width, int height, const Gather& gather, const Finish& finish) {
  __shared__ Sums of_parts[kParts - 1][kBlockHeight][kBlockWidth];
  const int part = static_cast<int>(threadIdx.z), parts = static_cast<int>(blockDim.z);
  for_each_place(width, height, [&](int u, int v, bool inside) {
    Sums sums{};
    if (inside) sums = gather(u, v, part, parts);
    if (part > 0) of_parts[part - 1][threadIdx.y][threadIdx.x] = sums;
    if (parts > 1) __syncthreads();
    if (part == 0 && inside) {
      for (int other = 1; other < parts; ++other) sums.join(of_parts[other - 1][threadIdx.y][threadIdx.x]);
      finish(u, v, sums);
    }
    if (parts > 1) __syncthreads();
  });
}

__device__ inline std::size_t image_offset(const RayJob& job) {
  return static_cast<std::size_t>(blockIdx.z) * job.view.width * job.view.height;
}

}  // namespace fluoropose::cuda
