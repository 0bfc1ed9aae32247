#include "fluoropose/drr/shear_warp_cpu.h"

#include <algorithm>
#include <vector>

#include "fluoropose/drr/jacobian_sinks.h"
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

FLUOROPOSE_HD void warp_jacobian_row(const ShearPlan& plan, const ShearSums& sums, const PoseFrame& frame, int width,
                                     int v, float* line, float* const pose[6]) {
#pragma omp simd
  for (int u = 0; u < width; ++u) {
    PoseDerivative d;
    line[u] = warp_jacobian(plan, sums, frame, u, v, d);
    pose[0][u] = d.omega.x, pose[1][u] = d.omega.y, pose[2][u] = d.omega.z;
    pose[3][u] = d.v.x, pose[4][u] = d.v.y, pose[5][u] = d.v.z;
  }
}

// The intermediate image with as many planes as asked for, first zero.
class SumPlanes {
 public:
  SumPlanes(const ShearPlan& plan, int planes)
      : stride_(plan.width + kShearPad),
        size_(static_cast<std::size_t>(stride_) * plan.height),
        memory_(static_cast<std::size_t>(planes) * size_) {}

  int stride() const { return stride_; }
  float* plane(int i) { return memory_.data() + static_cast<std::size_t>(i) * size_; }

 private:
  int stride_;
  std::size_t size_;
  std::vector<float> memory_;
};

// To be called by all threads of a parallel region together.
void sum_slices(const SliceRows& rows, const SliceMap* maps, const ShearPlan& plan, const ShearSums& sums,
                CpuLevel level) {
  std::vector<float> scratch(shear_scratch_size(rows, plan.width));
#pragma omp for schedule(dynamic, 1)
  for (int j = 0; j < plan.height; j += kBand) {
    shear_rows(rows, maps, plan.width, j, std::min(j + kBand, plan.height), sums, scratch.data(), level);
  }
}

}  // namespace

void shear_warp_cpu(const Grid& grid, const ShearPlan& plan, int width, int height, const DrrImages& out,
                    CpuLevel level) {
  const SliceRows rows = grid.rows(plan.axis);
  const std::vector<SliceMap> maps = slice_maps(plan, rows.slices.strides.nk);
  SumPlanes planes(plan, out.mask ? 3 : 1);
  const ShearSums sums{planes.plane(0), out.mask ? planes.plane(1) : nullptr, out.mask ? planes.plane(2) : nullptr,
                       nullptr, planes.stride()};
#pragma omp parallel
  {
    sum_slices(rows, maps.data(), plan, sums, level);
#pragma omp for schedule(static)
    for (int v = 0; v < height; ++v) warp_row(plan, sums, width, v, out);
  }
}

void shear_warp_jacobian_cpu(const Grid& grid, const ShearPlan& plan, const PoseFrame& frame, int width, int height,
                             const JacobianSink& sink, CpuLevel level) {
  const SliceRows rows = grid.rows(plan.axis);
  const std::vector<SliceMap> maps = slice_maps(plan, rows.slices.strides.nk);
  SumPlanes planes(plan, 2);
  const ShearSums sums{planes.plane(0), nullptr, nullptr, planes.plane(1), planes.stride()};
#pragma omp parallel
  {
    sum_slices(rows, maps.data(), plan, sums, level);
    JacobianBuffer row(width);
#pragma omp for schedule(static)
    for (int v = 0; v < height; ++v) {
      warp_jacobian_row(plan, sums, frame, width, v, row.line(), row.pose());
      sink(row.at(v));
    }
  }
}

}  // namespace fluoropose
