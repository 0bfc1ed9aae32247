#include "fluoropose/drr/shear_warp_cpu.h"

#include <algorithm>
#include <vector>

#include "fluoropose/drr/shear_rows.h"

namespace fluoropose {
namespace {

constexpr int kBand = 8;  // rows of the intermediate image summed together, so that they and their voxels stay cached

void warp_row(const ShearPlan& plan, const ShearRows& sums, int width, int v, const DrrImages& out) {
  const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(v) * width;
  for (int u = 0; u < width; ++u) {
    const WarpTap tap = warp_tap(plan, sums.stride, u, v);
    out.line_integral[row + u] = tap.inside ? tap.step_mm * warp_sum(sums.line + tap.index, sums.stride, tap) : 0.0f;
    if (!out.mask) continue;
    out.bone_line_integral[row + u] =
        tap.inside ? tap.step_mm * warp_sum(sums.bone + tap.index, sums.stride, tap) : 0.0f;
    out.mask[row + u] = tap.inside && warp_mask(sums.nearest_bone + tap.index, sums.stride, tap);
  }
}

}  // namespace

void shear_warp_cpu(const Grid& grid, const ShearPlan& plan, int width, int height, const DrrImages& out) {
  const SliceRows rows = grid.rows(plan.axis);
  const int stride = plan.width + ShearRows::kPad;
  const std::size_t size = static_cast<std::size_t>(stride) * plan.height;
  std::vector<float> memory((out.mask ? 3 : 1) * size);
  const ShearRows sums{memory.data(), out.mask ? memory.data() + size : nullptr,
                       out.mask ? memory.data() + 2 * size : nullptr, stride};
#pragma omp parallel
  {
    std::vector<float> scratch(shear_scratch_size(rows, plan));
#pragma omp for schedule(dynamic, 1)
    for (int j = 0; j < plan.height; j += kBand) {
      shear_rows(rows, plan, j, std::min(j + kBand, plan.height), sums, scratch.data());
    }
#pragma omp for schedule(static)
    for (int v = 0; v < height; ++v) warp_row(plan, sums, width, v, out);
  }
}

}  // namespace fluoropose
