#include "fluoropose/drr/shear_warp_cpu.h"

#include <algorithm>
#include <vector>

#include "fluoropose/drr/shear_rows.h"

namespace fluoropose {
namespace {

constexpr int kBand = 8;  // rows of the intermediate image summed together, so that they and their voxels stay cached

void warp_row(const ShearPlan& plan, const ShearSums& sums, int width, int v, const DrrImages& out) {
  if (out.mask) {
    for (int u = 0; u < width; ++u) warp_pixel<true>(plan, sums, u, v, width, out);
  } else {
    for (int u = 0; u < width; ++u) warp_pixel<false>(plan, sums, u, v, width, out);
  }
}

}  // namespace

void shear_warp_cpu(const Grid& grid, const ShearPlan& plan, int width, int height, const DrrImages& out,
                    CpuLevel level) {
  const SliceRows rows = grid.rows(plan.axis);
  const std::vector<SliceMap> maps = slice_maps(plan, rows.slices.strides.nk);
  const int stride = plan.width + kShearPad;
  const std::size_t size = static_cast<std::size_t>(stride) * plan.height;
  std::vector<float> memory((out.mask ? 3 : 1) * size);
  const ShearSums sums{memory.data(), out.mask ? memory.data() + size : nullptr,
                       out.mask ? memory.data() + 2 * size : nullptr, stride};
#pragma omp parallel
  {
    std::vector<float> scratch(shear_scratch_size(rows, plan.width));
#pragma omp for schedule(dynamic, 1)
    for (int j = 0; j < plan.height; j += kBand) {
      shear_rows(rows, maps.data(), plan.width, j, std::min(j + kBand, plan.height), sums, scratch.data(), level);
    }
#pragma omp for schedule(static)
    for (int v = 0; v < height; ++v) warp_row(plan, sums, width, v, out);
  }
}

}  // namespace fluoropose
