#include "fluoropose/drr/adjoint_cpu.h"

#include <vector>

#include "fluoropose/drr/adjoint.h"
#include "fluoropose/drr/shear_warp_cpu.h"

namespace fluoropose {
namespace {

const auto add = [](float* place, float value) { *place += value; };

}  // namespace

// Threads share the slices, not the rays: no two of them touch one voxel.
void ray_cast_adjoint_cpu(const Vec3<int>& size, const SliceStrides strides[3], const VoxelView& view,
                          const float* by_pixel, float* by_voxel) {
  std::vector<JosephRay> rays[3];
  std::vector<float> values[3];
  for (int v = 0; v < view.height; ++v) {
    for (int u = 0; u < view.width; ++u) {
      const JosephRay ray = joseph_ray(size, view, u, v);
      const float value = by_pixel[static_cast<std::ptrdiff_t>(v) * view.width + u] * ray.step_mm;
      if (ray.count == 0 || value == 0.0f) continue;
      rays[ray.axis].push_back(ray);
      values[ray.axis].push_back(value);
    }
  }
  for (int axis = 0; axis < 3; ++axis) {
    const SliceStrides& s = strides[axis];
#pragma omp parallel for schedule(dynamic, 4)
    for (int k = 0; k < s.nk; ++k) {
      for (std::size_t r = 0; r < rays[axis].size(); ++r) {
        const JosephRay& ray = rays[axis][r];
        const int i = (k - ray.k) * ray.dk;
        if (i < 0 || i >= ray.count) continue;
        const float f = static_cast<float>(i);
        give_sample(by_voxel, s, ray.a + f * ray.da, ray.b + f * ray.db, k, values[axis][r], add);
      }
    }
  }
}

void shear_warp_adjoint_cpu(const Slabs<float>& slabs, const ShearPlan& plan, int width, int height,
                            const float* by_pixel, float* by_voxel) {
  const SliceStrides& strides = slabs.strides;
  const ShearPlanes samples = shear_cpu(slabs, plan);
  ShearPlanes given(plan, 1);
  const int stride = samples.stride();
  for (int v = 0; v < height; ++v) {
    for (int u = 0; u < width; ++u) {
      const WarpTap tap = warp_tap(plan, stride, u, v);
      const float value = by_pixel[static_cast<std::ptrdiff_t>(v) * width + u];
      give_warp(samples.plane(0), given.plane(0), stride, tap, value, add);
    }
  }
  const std::vector<SliceMap> maps = slice_maps(plan, strides.nk);
#pragma omp parallel for schedule(dynamic, 4)
  for (int k = 1; k < strides.nk - 1; ++k) {
    const SliceMap& map = maps[static_cast<std::size_t>(k)];
    for (int j = 0; j < plan.height; ++j) {
      for (int i = 0; i < plan.width; ++i) {
        const float value = given.plane(0)[static_cast<std::ptrdiff_t>(j) * stride + i];
        if (value != 0.0f) give_slab_sample(by_voxel, strides, map, i, j, k, value, add);
      }
    }
  }
}

}  // namespace fluoropose
