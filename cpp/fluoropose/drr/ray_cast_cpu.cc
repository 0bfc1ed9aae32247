#include "fluoropose/drr/ray_cast_cpu.h"

#include <algorithm>

namespace fluoropose {
namespace {

constexpr int kLanes = 16;  // rays that march together, so that the compiler can turn the inner loop into vectors

template <bool kBone>
void cast_packet(const GridView& grid, const VoxelView& view, int u0, int lanes, int v, float* line, float* bone,
                 std::uint8_t* mask) {
  JosephRay rays[kLanes];
  float sum[kLanes] = {}, bone_sum[kLanes] = {}, crossed[kLanes] = {};
  for (int l = 0; l < lanes; ++l) rays[l] = joseph_ray(grid, view, u0 + l, v);
  for (int l = 0; l < lanes; ++l) {
    const SliceStrides s = slice_strides(grid, rays[l].axis);
    const JosephRay& ray = rays[l];
    for (int i = 0; i < ray.count; ++i) {
      const float f = static_cast<float>(i);
      const Tap tap = joseph_tap(s, ray.a + f * ray.da, ray.b + f * ray.db, ray.k + i * ray.dk);
      sum[l] += bilinear(grid.mu, s, tap);
      if constexpr (kBone) {
        bone_sum[l] += bilinear(grid.bone, s, tap);
        crossed[l] = std::max(crossed[l], nearest(grid.bone, s, tap));
      }
    }
  }
  for (int l = 0; l < lanes; ++l) {
    line[u0 + l] = sum[l] * rays[l].step_mm;
    if constexpr (kBone) {
      bone[u0 + l] = bone_sum[l] * rays[l].step_mm;
      mask[u0 + l] = crossed[l] > 0.0f;
    }
  }
}

}  // namespace

void ray_cast_cpu(const GridView& grid, const VoxelView& view, int width, int height, const DrrImages& out) {
#pragma omp parallel for schedule(dynamic, 4)
  for (int v = 0; v < height; ++v) {
    const std::size_t row = static_cast<std::size_t>(v) * width;
    for (int u = 0; u < width; u += kLanes) {
      const int lanes = std::min(kLanes, width - u);
      if (out.mask) {
        cast_packet<true>(grid, view, u, lanes, v, out.line_integral + row, out.bone_line_integral + row,
                          out.mask + row);
      } else {
        cast_packet<false>(grid, view, u, lanes, v, out.line_integral + row, nullptr, nullptr);
      }
    }
  }
}

}  // namespace fluoropose
