// Launches the bodies of cpp/fluoropose/drr/*.h, one thread per pixel.
#pragma once

#include "fluoropose/drr/pose_jacobian.h"
#include "fluoropose/drr/ray_cast.h"
#include "fluoropose/drr/shear_warp.h"
#include "fluoropose/drr/trilinear.h"

namespace fluoropose::cuda {

constexpr int kBlockWidth = 16, kBlockHeight = 8;

template <typename Voxel>
struct Axes {
  Slices<Voxel> across[3];
};

struct Frames {
  PoseFrame across[3];
};

// Where the derivative goes: six planes (height, width), or its sum over all pixels weighted by by_pixel.
struct JacobianTarget {
  float* line;
  float* pose;            // null where only the sum is wanted
  const float* by_pixel;  // null where only the planes are wanted
  double* sums;           // (6), zero before
};

__device__ inline int pixel_u() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }
__device__ inline int pixel_v() { return static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y); }

template <bool kBone, typename Voxel>
__global__ void ray_cast_kernel(Axes<Voxel> slices, Vec3<int> size, Bricks bricks, VoxelView view, DrrImages out) {
  const int u = pixel_u(), v = pixel_v();
  if (u >= view.width || v >= view.height) return;
  JosephRay ray = joseph_ray(size, view, u, v);
  trim_ray(bricks, ray);
  store_pixel<kBone>(cast_ray<kBone>(slices.across[ray.axis], ray), ray.step_mm, v * view.width + u, out);
}

template <bool kBone, typename Voxel>
__global__ void trilinear_kernel(Slices<Voxel> slices, Vec3<int> size, VoxelView view, DrrImages out) {
  const int u = pixel_u(), v = pixel_v();
  if (u >= view.width || v >= view.height) return;
  const TrilinearRay ray = trilinear_ray(size, view, u, v);
  store_pixel<kBone>(cast_trilinear<kBone>(slices, ray), ray.step_mm, v * view.width + u, out);
}

// Every thread of the block must come here; those beyond the image with weight 0.
__device__ inline void store_derivative(const PoseDerivative& d, int index, std::size_t plane, float weight,
                                        bool inside, const JacobianTarget& out) {
  const float values[6] = {d.omega.x, d.omega.y, d.omega.z, d.v.x, d.v.y, d.v.z};
  if (out.pose && inside) {
    for (int i = 0; i < 6; ++i) out.pose[i * plane + index] = values[i];
  }
  if (!out.by_pixel) return;
  __shared__ double partial[6];
  const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  if (thread < 6) partial[thread] = 0.0;
  __syncthreads();
  for (int i = 0; i < 6; ++i) {
    double sum = static_cast<double>(values[i]) * weight;
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (thread % 32 == 0) atomicAdd(&partial[i], sum);
  }
  __syncthreads();
  if (thread < 6) atomicAdd(&out.sums[thread], partial[thread]);
}

template <typename Voxel>
__global__ void ray_cast_jacobian_kernel(Axes<Voxel> slices, Vec3<int> size, Bricks bricks, VoxelView view,
                                         Frames frames, JacobianTarget out) {
  const int u = pixel_u(), v = pixel_v();
  const bool inside = u < view.width && v < view.height;
  const int index = v * view.width + u;
  PoseDerivative derivative{};
  if (inside) {
    JosephRay ray = joseph_ray(size, view, u, v);
    trim_ray(bricks, ray);
    RayGradient gradient;
    const float line = cast_gradient_ray(slices.across[ray.axis], ray, gradient) * ray.step_mm;
    derivative = pose_derivative(frames.across[ray.axis], static_cast<float>(u), static_cast<float>(v), line,
                                 ray.step_mm, gradient);
    if (out.line) out.line[index] = line;
  }
  const float weight = inside && out.by_pixel ? out.by_pixel[index] : 0.0f;
  store_derivative(derivative, index, static_cast<std::size_t>(view.width) * view.height, weight, inside, out);
}

template <typename Voxel>
__global__ void trilinear_jacobian_kernel(Slices<Voxel> slices, Vec3<int> size, VoxelView view, PoseFrame frame,
                                          Vec3<float> origin, JacobianTarget out) {
  const int u = pixel_u(), v = pixel_v();
  const bool inside = u < view.width && v < view.height;
  const int index = v * view.width + u;
  PoseDerivative derivative{};
  if (inside) {
    const TrilinearRay ray = trilinear_ray(size, view, u, v);
    const float line = cast_trilinear_jacobian(slices, ray, frame, origin, derivative);
    if (out.line) out.line[index] = line;
  }
  const float weight = inside && out.by_pixel ? out.by_pixel[index] : 0.0f;
  store_derivative(derivative, index, static_cast<std::size_t>(view.width) * view.height, weight, inside, out);
}

static __global__ void slice_map_kernel(ShearPlan plan, int count, SliceMap* maps) {
  const int k = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (k < count) maps[k] = slice_map(plan, k);
}

template <bool kBone, typename Voxel>
__global__ void shear_kernel(Slices<Voxel> slices, const SliceMap* maps, int width, int height, ShearSums sums) {
  const int i = pixel_u(), j = pixel_v();
  if (i >= width || j >= height) return;
  const RaySums pixel = shear_pixel<kBone>(slices, maps, i, j);
  const int at = j * sums.stride + i;
  sums.line[at] = pixel.line;
  if constexpr (kBone) {
    sums.bone[at] = pixel.bone;
    sums.nearest_bone[at] = pixel.nearest_bone;
  }
}

template <typename Voxel>
__global__ void shear_lever_kernel(Slices<Voxel> slices, const SliceMap* maps, int width, int height, ShearSums sums) {
  const int i = pixel_u(), j = pixel_v();
  if (i >= width || j >= height) return;
  const int at = j * sums.stride + i;
  sums.line[at] = shear_lever_pixel(slices, maps, i, j, sums.lever[at]);
}

template <bool kBone>
__global__ void warp_kernel(ShearPlan plan, ShearSums sums, int width, int height, DrrImages out) {
  const int u = pixel_u(), v = pixel_v();
  if (u < width && v < height) warp_pixel<kBone>(sums, warp_tap(plan, sums.stride, u, v), v * width + u, out);
}

static __global__ void warp_jacobian_kernel(ShearPlan plan, ShearSums sums, PoseFrame frame, int width, int height,
                                            JacobianTarget out) {
  const int u = pixel_u(), v = pixel_v();
  const bool inside = u < width && v < height;
  const int index = v * width + u;
  PoseDerivative derivative{};
  if (inside) {
    const WarpTap tap = warp_tap(plan, sums.stride, u, v);
    RayGradient gradient;
    const float line = warp_gradient(plan, sums, tap, gradient);
    derivative = pose_derivative(frame, static_cast<float>(u), static_cast<float>(v), line, tap.step_mm, gradient);
    if (out.line) out.line[index] = line;
  }
  const float weight = inside && out.by_pixel ? out.by_pixel[index] : 0.0f;
  store_derivative(derivative, index, static_cast<std::size_t>(width) * height, weight, inside, out);
}

}  // namespace fluoropose::cuda
