// Kernels for the derivative by the pose: stored, or summed over the pixels without storing it.
#pragma once

#include "fluoropose/drr/normal_terms.h"
#include "images.cuh"

namespace fluoropose::cuda {

// Of a plane each: samples, and samples times their lever.
__device__ inline ShearSums lever_sums(const Workspace& space) {
  return {space.plane(0), nullptr, nullptr, space.plane(1), space.job().plan.width};
}

template <typename Voxel>
__global__ void shear_lever_kernel(const __grid_constant__ DeviceGrid<Voxel> grid,
                                   const __grid_constant__ Workspace space) {
  const RayJob& job = space.job();
  if (job.way != Way::kShear) return;
  const ShearSums sums = lever_sums(space);
  for_each_ray<LeverSums>(
      job.plan.width, job.plan.height,
      [&](int i, int j, int part, int parts) {
        const JosephRay ray = shear_part(grid, job.plan, i, j, part, parts);
        return cast_lever_ray(in_rows(grid.slabs[job.plan.axis]), ray, space.image_levers());
      },
      [&](int i, int j, const LeverSums& pixel) {
        const int at = j * sums.stride + i;
        sums.line[at] = pixel.line, sums.lever[at] = pixel.lever;
      });
}

// A pixel's line integral and its derivative by the six pose parameters, or a part of the ray's share of both.
struct DerivedPixel {
  float line, by_pose[6];

  __device__ void join(const DerivedPixel& other) {
    line += other.line;
    for (int i = 0; i < 6; ++i) by_pose[i] += other.by_pose[i];
  }
};

template <Method kMethod, typename Voxel>
__device__ DerivedPixel derive_pixel(const DeviceGrid<Voxel>& grid, const Workspace& space, int u, int v, int part,
                                     int parts) {
  const RayJob& job = space.job();
  const float x = static_cast<float>(u), y = static_cast<float>(v);
  float line = NAN;
  PoseDerivative d{{NAN, NAN, NAN}, {NAN, NAN, NAN}};
  if (job.way == Way::kShear) {
    if constexpr (kMethod == Method::kShearWarp) {
      if (part > 0) return {};
      const ShearSums sums = lever_sums(space);
      const WarpTap tap = warp_tap(job.plan, sums.stride, u, v);
      RayGradient gradient;
      line = warp_gradient(job.plan, sums, tap, gradient);
      d = pose_derivative(job.frames[job.plan.axis], x, y, line, tap.step_mm, gradient);
    }
  } else if (job.way != Way::kNowhere) {
    if constexpr (kMethod == Method::kTrilinear) {
      const TrilinearRay ray = part_of(trilinear_ray(grid.size, job.view, u, v), part, parts);
      line = cast_trilinear_jacobian(in_rows(grid.across[2]), ray, job.frames[2], grid.origin, d);
    } else {
      const JosephRay ray = cast_part(grid, job.view, u, v, part, parts);
      RayGradient gradient;
      line = cast_gradient_ray(in_rows(grid.across[ray.axis]), ray, gradient) * ray.step_mm;
      d = pose_derivative(job.frames[ray.axis], x, y, line, ray.step_mm, gradient);
    }
  }
  return {line, {d.omega.x, d.omega.y, d.omega.z, d.v.x, d.v.y, d.v.z}};
}

// Calls finish(u, v, pixel) for the block's share of the pixels; all its threads must come here.
template <Method kMethod, typename Voxel, typename Finish>
__device__ void for_each_derived(const DeviceGrid<Voxel>& grid, const Workspace& space, const Finish& finish) {
  const VoxelView& view = space.job().view;
  for_each_ray<DerivedPixel>(
      view.width, view.height,
      [&](int u, int v, int part, int parts) { return derive_pixel<kMethod>(grid, space, u, v, part, parts); }, finish);
}

// line: (n, plane); jacobian: (n, 6, plane), of which an image takes the first pixels.
template <Method kMethod, typename Voxel>
__global__ void jacobian_kernel(const __grid_constant__ DeviceGrid<Voxel> grid, const __grid_constant__ Workspace space,
                                std::size_t plane, float* line, float* jacobian) {
  const RayJob& job = space.job();
  line += blockIdx.z * plane, jacobian += blockIdx.z * 6 * plane;
  for_each_derived<kMethod>(grid, space, [&](int u, int v, const DerivedPixel& pixel) {
    const int index = v * job.view.width + u;
    line[index] = pixel.line;
    for (int i = 0; i < 6; ++i) jacobian[i * plane + index] = pixel.by_pose[i];
  });
}

// Sums kCount values over the block's threads of part 0, into the block's own place in partial (n, blocks, kCount): in
// single precision within a warp, in double beyond it, and always in the same order. All threads must come here.
template <int kCount>
__device__ void sum_block(const float (&values)[kCount], double* partial) {
  constexpr int kWarps = kBlockWidth * kBlockHeight / 32;
  __shared__ float of_warps[kWarps][kCount];
  const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  const bool counts = threadIdx.z == 0;
  for (int i = 0; i < kCount && counts; ++i) {
    float sum = values[i];
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (thread % 32 == 0) of_warps[thread / 32][i] = sum;
  }
  __syncthreads();
  if (!counts || thread >= kCount) return;
  double sum = 0.0;
  for (int warp = 0; warp < kWarps; ++warp) sum += static_cast<double>(of_warps[warp][thread]);
  partial[(static_cast<std::size_t>(blockIdx.z) * gridDim.x + blockIdx.x) * kCount + thread] = sum;
}

constexpr int kTotalRows = 8;

// Sums partial (n, blocks, kCount) of image blockIdx.x over its blocks; the result is there for all threads of a block
// of 32 x kTotalRows.
template <int kCount>
__device__ const double* total(const double* partial, int blocks) {
  static_assert(kCount <= 32);
  __shared__ double sums[kTotalRows][32];
  const int i = static_cast<int>(threadIdx.x), row = static_cast<int>(threadIdx.y);
  double sum = 0.0;
  if (i < kCount) {
    const double* of_image = partial + static_cast<std::size_t>(blockIdx.x) * blocks * kCount;
    for (int block = row; block < blocks; block += kTotalRows) sum += of_image[block * kCount + i];
  }
  sums[row][i] = sum;
  __syncthreads();
  if (row == 0) {
    for (int other = 1; other < kTotalRows; ++other) sums[0][i] += sums[other][i];
  }
  __syncthreads();
  return sums[0];
}

// by_pixel: (n, height, width), the derivative of a cost with respect to the images.
template <Method kMethod, typename Voxel>
__global__ void gradient_kernel(const __grid_constant__ DeviceGrid<Voxel> grid, const __grid_constant__ Workspace space,
                                const float* by_pixel, double* partial) {
  const RayJob& job = space.job();
  const float* weights = by_pixel + image_offset(job);
  float sums[6] = {};
  for_each_derived<kMethod>(grid, space, [&](int u, int v, const DerivedPixel& pixel) {
    const float weight = weights[v * job.view.width + u];
    for (int i = 0; i < 6; ++i) sums[i] += weight * pixel.by_pose[i];
  });
  sum_block(sums, partial);
}

// gradient: (n, 6).
static __global__ void total_gradient_kernel(const double* partial, int blocks, double* gradient) {
  const double* sums = total<6>(partial, blocks);
  if (threadIdx.y == 0 && threadIdx.x < 6) gradient[6 * blockIdx.x + threadIdx.x] = sums[threadIdx.x];
}

// target, weights: (n, height, width); weights may be null.
template <Method kMethod, typename Voxel>
__global__ void normal_kernel(const __grid_constant__ DeviceGrid<Voxel> grid, const __grid_constant__ Workspace space,
                              const float* target, const float* weights, double* partial) {
  const RayJob& job = space.job();
  const std::size_t first = image_offset(job);
  float sums[kNormalSums] = {};
  for_each_derived<kMethod>(grid, space, [&](int u, int v, const DerivedPixel& pixel) {
    const std::size_t index = first + static_cast<std::size_t>(v) * job.view.width + u;
    add_normal_terms(pixel.by_pose, pixel.line - target[index], weights ? weights[index] : 1.0f, sums);
  });
  sum_block(sums, partial);
}

static __global__ void total_normal_kernel(const double* partial, int blocks, NormalArrays out) {
  const double* sums = total<kNormalSums>(partial, blocks);
  const std::size_t n = blockIdx.x;
  if (threadIdx.x == 0 && threadIdx.y == 0) unpack_normal_sums(sums, out.cost + n, out.jtj + 36 * n, out.jtr + 6 * n);
}

}  // namespace fluoropose::cuda
