#include "fluoropose/drr/adjoint_cpu.h"

#include <vector>

#include "fluoropose/drr/adjoint.h"

namespace fluoropose {
namespace {

// Transpose of warp_sum() for one detector pixel.
void give_pixel(const ShearPlan& plan, int stride, int u, int v, float value, float* sums) {
  const WarpTap tap = warp_tap(plan, stride, u, v);
  if (!tap.inside) return;
  const CubicWeights wi = cubic_weights(tap.ti), wj = cubic_weights(tap.tj);
  for (int r = 0; r < 4; ++r) {
    float* q = sums + tap.index + r * stride;
    for (int c = 0; c < 4; ++c) q[c] += value * tap.step_mm * wj.w[r] * wi.w[c];
  }
}

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
        give_sample(by_voxel, s, ray.a + f * ray.da, ray.b + f * ray.db, k, values[axis][r]);
      }
    }
  }
}

void shear_warp_adjoint_cpu(const SliceStrides& strides, const ShearPlan& plan, int width, int height,
                            const float* by_pixel, float* by_voxel) {
  std::vector<float> sums(static_cast<std::size_t>(plan.width) * plan.height);
  for (int v = 0; v < height; ++v) {
    for (int u = 0; u < width; ++u) {
      give_pixel(plan, plan.width, u, v, by_pixel[static_cast<std::ptrdiff_t>(v) * width + u], sums.data());
    }
  }
  const std::vector<SliceMap> maps = slice_maps(plan, strides.nk);
#pragma omp parallel for schedule(dynamic, 4)
  for (int k = 1; k < strides.nk - 1; ++k) {
    const SliceMap& map = maps[static_cast<std::size_t>(k)];
    for (int j = 0; j < plan.height; ++j) {
      const float b = map.b + static_cast<float>(j) * map.db;
      if (!(b >= 0.0f && b < static_cast<float>(strides.nb - 1))) continue;
      for (int i = 0; i < plan.width; ++i) {
        const float value = sums[static_cast<std::size_t>(j) * plan.width + i];
        if (value != 0.0f) give_sample(by_voxel, strides, map.a + static_cast<float>(i) * map.da, b, k, value);
      }
    }
  }
}

}  // namespace fluoropose
