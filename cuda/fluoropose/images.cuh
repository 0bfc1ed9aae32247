// Kernels that make images.
#pragma once

#include "fluoropose/drr/ray_cast.h"
#include "fluoropose/drr/trilinear.h"
#include "workspace.cuh"

namespace fluoropose::cuda {

// Of a plane each: samples, the bone's, its nearest voxels.
template <bool kBone>
__device__ ShearSums image_sums(const Workspace& space) {
  return {space.plane(0), kBone ? space.plane(1) : nullptr, kBone ? space.plane(2) : nullptr, nullptr,
          space.job().plan.width};
}

// A part of the way of the intermediate image's pixel (i, j), without the air at its ends.
template <typename Voxel>
__device__ JosephRay shear_part(const DeviceGrid<Voxel>& grid, const ShearPlan& plan, int i, int j, int part,
                                int parts) {
  JosephRay ray = part_of(shear_ray(plan, grid.slabs[plan.axis].strides, i, j), part, parts);
  trim_ray(grid.bricks, ray, grid.thickness[plan.axis]);
  return ray;
}

// The same of the ray of the detector's pixel (u, v).
template <typename Voxel>
__device__ JosephRay cast_part(const DeviceGrid<Voxel>& grid, const VoxelView& view, int u, int v, int part,
                               int parts) {
  JosephRay ray = part_of(joseph_ray(grid.size, view, u, v), part, parts);
  trim_ray(grid.bricks, ray);
  return ray;
}

template <bool kBone, typename Voxel>
__global__ void shear_kernel(const __grid_constant__ DeviceGrid<Voxel> grid, const __grid_constant__ Workspace space) {
  const RayJob& job = space.job();
  if (job.way != Way::kShear) return;
  const ShearSums sums = image_sums<kBone>(space);
  for_each_ray<RaySums>(
      job.plan.width, job.plan.height,
      [&](int i, int j, int part, int parts) {
        return cast_ray<kBone>(in_rows(grid.slabs[job.plan.axis]), shear_part(grid, job.plan, i, j, part, parts));
      },
      [&](int i, int j, const RaySums& pixel) {
        const int at = j * sums.stride + i;
        sums.line[at] = pixel.line;
        if constexpr (kBone) {
          sums.bone[at] = pixel.bone;
          sums.nearest_bone[at] = pixel.nearest_bone;
        }
      });
}

// out: the first image. Needs the intermediate images of shear-warp.
template <bool kBone, Method kMethod, typename Voxel>
__global__ void image_kernel(const __grid_constant__ DeviceGrid<Voxel> grid, const __grid_constant__ Workspace space,
                             DrrImages out) {
  const RayJob& job = space.job();
  out = images_at(out, image_offset(job));
  if (job.way == Way::kShear) {
    if constexpr (kMethod == Method::kShearWarp) {
      const ShearSums sums = image_sums<kBone>(space);
      for_each_pixel(job.view.width, job.view.height, [&](int u, int v) {
        warp_pixel<kBone>(sums, warp_tap(job.plan, sums.stride, u, v), v * job.view.width + u, out);
      });
    }
    return;
  }
  for_each_ray<RaySums>(
      job.view.width, job.view.height,
      [&](int u, int v, int part, int parts) -> RaySums {
        if (job.way == Way::kNowhere) return {NAN, NAN, 0.0f};
        RaySums sums{};
        float step_mm;
        if constexpr (kMethod == Method::kTrilinear) {
          const TrilinearRay ray = part_of(trilinear_ray(grid.size, job.view, u, v), part, parts);
          sums = cast_trilinear<kBone>(in_rows(grid.across[2]), ray);
          step_mm = ray.step_mm;
        } else {
          const JosephRay ray = cast_part(grid, job.view, u, v, part, parts);
          sums = cast_ray<kBone>(in_rows(grid.across[ray.axis]), ray);
          step_mm = ray.step_mm;
        }
        return {sums.line * step_mm, sums.bone * step_mm, sums.nearest_bone};
      },
      [&](int u, int v, const RaySums& pixel) { store_pixel<kBone>(pixel, 1.0f, v * job.view.width + u, out); });
}

}  // namespace fluoropose::cuda
