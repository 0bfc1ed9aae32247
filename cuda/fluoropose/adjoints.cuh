// Kernels for the derivative by the voxels: the exact transposes of images.cuh without a bone.
#pragma once

#include "fluoropose/drr/adjoint.h"
#include "images.cuh"

namespace fluoropose::cuda {

// Sums of what the voxels are given, all zero before.
struct VoxelGradients {
  float* grid;      // x fastest, rim included
  float* slabs[3];  // of shear-warp only
};

struct AtomicAdd {
  __device__ void operator()(float* place, float value) const { atomicAdd(place, value); }
};

static __global__ void cast_adjoint_kernel(Vec3<int> size, const __grid_constant__ Workspace space,
                                           const float* by_pixel, VoxelGradients gradients) {
  const RayJob& job = space.job();
  if (job.way == Way::kNowhere) {
    // As its image is NaN: a sum that left it out would look right.
    for_each_element(static_cast<unsigned>(size.x) * size.y * size.z,
                     [&](unsigned i) { atomicAdd(gradients.grid + i, NAN); });
  }
  if (job.way != Way::kCast) return;
  const float* weights = by_pixel + image_offset(job);
  for_each_pixel(job.view.width, job.view.height, [&](int u, int v) {
    const JosephRay ray = joseph_ray(size, job.view, u, v);
    const float value = weights[v * job.view.width + u] * ray.step_mm;
    if (value == 0.0f) return;
    give_ray(gradients.grid, slice_strides(size, ray.axis), ray, value, AtomicAdd{});
  });
}

// From the detector to the intermediate image's second plane, which must be zero; the first holds its samples.
static __global__ void warp_adjoint_kernel(const __grid_constant__ Workspace space, const float* by_pixel) {
  const RayJob& job = space.job();
  if (job.way != Way::kShear) return;
  const float* weights = by_pixel + image_offset(job);
  const int stride = job.plan.width;
  for_each_pixel(job.view.width, job.view.height, [&](int u, int v) {
    give_warp(space.plane(0), space.plane(1), stride, warp_tap(job.plan, stride, u, v), weights[v * job.view.width + u],
              AtomicAdd{});
  });
}

// From there to the slabs. strides: of the slabs across each axis.
struct SlabStrides {
  SliceStrides across[3];
};
static __global__ void shear_adjoint_kernel(const __grid_constant__ SlabStrides strides,
                                            const __grid_constant__ Workspace space, VoxelGradients gradients) {
  const RayJob& job = space.job();
  if (job.way != Way::kShear) return;
  const SliceStrides& s = strides.across[job.plan.axis];
  for_each_pixel(job.plan.width, job.plan.height, [&](int i, int j) {
    const float value = space.plane(1)[j * job.plan.width + i];
    if (value == 0.0f) return;
    give_ray(gradients.slabs[job.plan.axis], s, shear_ray(job.plan, s, i, j), value, AtomicAdd{});
  });
}

// by_voxel: (nz, ny, nx), without the rim: what the grid was given, and each slice's share of what its slabs were.
static __global__ void collect_kernel(const __grid_constant__ GridFrame grid,
                                      const __grid_constant__ SlabStrides strides, VoxelGradients gradients,
                                      float* by_voxel) {
  const int nx = grid.size.x - 2, ny = grid.size.y - 2;
  for_each_element(static_cast<unsigned>(nx) * ny * (grid.size.z - 2), [&](unsigned i) {
    const Vec3<int> at{static_cast<int>(i % nx) + 1, static_cast<int>(i / nx % ny) + 1,
                       static_cast<int>(i / nx / ny) + 1};
    float sum = gradients.grid[(at.z * grid.size.y + at.y) * grid.size.x + at.x];
    for (int axis = 0; axis < 3; ++axis) {
      if (!gradients.slabs[axis]) continue;
      const SliceStrides& s = strides.across[axis];
      const int thickness = grid.slabs[axis].thickness;
      const int slab = slab_of(component(at, axis), thickness);
      const float given =
          gradients
              .slabs[axis][component(at, first_axis(axis)) * s.a + component(at, second_axis(axis)) * s.b + slab * s.k];
      sum += given / static_cast<float>(thickness);
    }
    by_voxel[i] = sum;
  });
}

}  // namespace fluoropose::cuda
