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

template <bool kBone, typename Voxel>
__global__ void shear_kernel(const __grid_constant__ DeviceGrid<Voxel> grid, const __grid_constant__ Workspace space) {
  const RayJob& job = space.job();
  if (job.way != Way::kShear) return;
  const ShearSums sums = image_sums<kBone>(space);
  for_each_pixel(job.plan.width, job.plan.height, [&](int i, int j) {
    const RaySums pixel = shear_pixel<kBone>(grid.slabs[job.plan.axis], space.image_maps(), i, j);
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
  for_each_pixel(job.view.width, job.view.height, [&](int u, int v) {
    const int index = v * job.view.width + u;
    if constexpr (kMethod == Method::kShearWarp) {
      if (job.way == Way::kShear) {
        const ShearSums sums = image_sums<kBone>(space);
        return warp_pixel<kBone>(sums, warp_tap(job.plan, sums.stride, u, v), index, out);
      }
    }
    if (job.way == Way::kNowhere) return store_pixel<kBone>({}, NAN, index, out);
    if constexpr (kMethod == Method::kTrilinear) {
      const TrilinearRay ray = trilinear_ray(grid.size, job.view, u, v);
      store_pixel<kBone>(cast_trilinear<kBone>(grid.across[2], ray), ray.step_mm, index, out);
    } else {
      JosephRay ray = joseph_ray(grid.size, job.view, u, v);
      trim_ray(grid.bricks, ray);
      store_pixel<kBone>(cast_ray<kBone>(grid.across[ray.axis], ray), ray.step_mm, index, out);
    }
  });
}

}  // namespace fluoropose::cuda
