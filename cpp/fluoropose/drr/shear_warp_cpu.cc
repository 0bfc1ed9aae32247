#include "fluoropose/drr/shear_warp_cpu.h"

#include <algorithm>
#include <vector>

#include "fluoropose/drr/jacobian_sinks.h"
#include "fluoropose/drr/shear_rows.h"

namespace fluoropose {
namespace {

constexpr int kBand = 8;  // rows of the intermediate image summed together, so that they and their voxels stay cached

constexpr int kChunk = 64;  // pixels of a row warped together

// Taps of a chunk, so that finding them becomes vectors; using them reads memory here and there.
struct WarpTaps {
  int index[kChunk];
  float ti[kChunk], tj[kChunk], step_mm[kChunk];
  bool inside[kChunk];

  FLUOROPOSE_HD WarpTap at(int l) const { return {index[l], ti[l], tj[l], step_mm[l], inside[l]}; }
};

FLUOROPOSE_HD void find_taps(const ShearPlan& plan, int stride, int u0, int v, int count, WarpTaps& taps) {
  const ShearPlan p = plan;
#pragma omp simd
  for (int l = 0; l < count; ++l) {
    const WarpTap tap = warp_tap(p, stride, u0 + l, v);
    taps.index[l] = tap.index, taps.ti[l] = tap.ti, taps.tj[l] = tap.tj, taps.step_mm[l] = tap.step_mm;
    taps.inside[l] = tap.inside;
  }
}

// Where the rows of one image go.
struct WarpJob {
  const ShearPlan& plan;
  const ShearSums& sums;
  const PoseFrame* frame;  // where the derivative is asked for
  int width;
};

FLUOROPOSE_HD void warp_image_row(const WarpJob& job, int v, const DrrImages& out) {
  WarpTaps taps;
  for (int u0 = 0; u0 < job.width; u0 += kChunk) {
    const int count = std::min(kChunk, job.width - u0), index = v * job.width + u0;
    find_taps(job.plan, job.sums.stride, u0, v, count, taps);
    if (out.mask) {
      for (int l = 0; l < count; ++l) warp_pixel<true>(job.sums, taps.at(l), index + l, out);
    } else {
      for (int l = 0; l < count; ++l) warp_pixel<false>(job.sums, taps.at(l), index + l, out);
    }
  }
}

FLUOROPOSE_HD void warp_jacobian_row(const WarpJob& job, int v, float* line, float* const pose[6]) {
  WarpTaps taps;
  RayGradient gradient[kChunk];
  for (int u0 = 0; u0 < job.width; u0 += kChunk) {
    const int count = std::min(kChunk, job.width - u0);
    find_taps(job.plan, job.sums.stride, u0, v, count, taps);
    for (int l = 0; l < count; ++l) line[u0 + l] = warp_gradient(job.plan, job.sums, taps.at(l), gradient[l]);
#pragma omp simd
    for (int l = 0; l < count; ++l) {
      const int u = u0 + l;
      store_derivative(pose_derivative(*job.frame, static_cast<float>(u), static_cast<float>(v), line[u],
                                       taps.step_mm[l], gradient[l]),
                       u, pose);
    }
  }
}

struct WarpRows {
  void (*image)(const WarpJob&, int, const DrrImages&);
  void (*jacobian)(const WarpJob&, int, float*, float* const[6]);
};

void image_row(const WarpJob& job, int v, const DrrImages& out) { warp_image_row(job, v, out); }
void jacobian_row(const WarpJob& job, int v, float* line, float* const pose[6]) {
  warp_jacobian_row(job, v, line, pose);
}

#if FLUOROPOSE_X86_LEVELS
FLUOROPOSE_TARGET_V3 void image_row_v3(const WarpJob& job, int v, const DrrImages& out) { warp_image_row(job, v, out); }
FLUOROPOSE_TARGET_V3 void jacobian_row_v3(const WarpJob& job, int v, float* line, float* const pose[6]) {
  warp_jacobian_row(job, v, line, pose);
}
FLUOROPOSE_TARGET_V4 void image_row_v4(const WarpJob& job, int v, const DrrImages& out) { warp_image_row(job, v, out); }
FLUOROPOSE_TARGET_V4 void jacobian_row_v4(const WarpJob& job, int v, float* line, float* const pose[6]) {
  warp_jacobian_row(job, v, line, pose);
}
#endif

WarpRows warp_rows_for([[maybe_unused]] CpuLevel level) {
#if FLUOROPOSE_X86_LEVELS
  if (level == CpuLevel::kV4) return {image_row_v4, jacobian_row_v4};
  if (level == CpuLevel::kV3) return {image_row_v3, jacobian_row_v3};
#endif
  return {image_row, jacobian_row};
}

// To be called by all threads of a parallel region together.
template <typename Voxel>
void sum_slices(const Slabs<Voxel>& slabs, const SliceMap* maps, const ShearPlan& plan, const ShearSums& sums,
                CpuLevel level) {
  std::vector<float> scratch(shear_scratch_size(slabs.strides.na, plan.width));
#pragma omp for schedule(dynamic, 1)
  for (int j = 0; j < plan.height; j += kBand) {
    shear_rows(slabs, maps, plan.width, j, std::min(j + kBand, plan.height), sums, scratch.data(), level);
  }
}

}  // namespace

ShearPlanes::ShearPlanes(const ShearPlan& plan, int planes)
    : stride_(plan.width + kShearPad),
      size_(static_cast<std::size_t>(stride_) * plan.height),
      memory_(static_cast<std::size_t>(planes) * size_) {}

ShearPlanes shear_cpu(const Slabs<float>& slabs, const ShearPlan& plan) {
  const std::vector<SliceMap> maps = slice_maps(plan, slabs.strides.nk);
  ShearPlanes planes(plan, 1);
  const ShearSums sums{planes.plane(0), nullptr, nullptr, nullptr, planes.stride()};
#pragma omp parallel
  sum_slices(slabs, maps.data(), plan, sums, cpu_level());
  return planes;
}

template <typename Voxel>
void shear_warp_cpu(const Slabs<Voxel>& slabs, const ShearPlan& plan, int width, int height, const DrrImages& out,
                    CpuLevel level) {
  const std::vector<SliceMap> maps = slice_maps(plan, slabs.strides.nk);
  ShearPlanes planes(plan, out.mask ? 3 : 1);
  const ShearSums sums{planes.plane(0), out.mask ? planes.plane(1) : nullptr, out.mask ? planes.plane(2) : nullptr,
                       nullptr, planes.stride()};
  const WarpRows warp = warp_rows_for(level);
#pragma omp parallel
  {
    sum_slices(slabs, maps.data(), plan, sums, level);
#pragma omp for schedule(static)
    for (int v = 0; v < height; ++v) warp.image({plan, sums, nullptr, width}, v, out);
  }
}

template <typename Voxel>
void shear_warp_jacobian_cpu(const Slabs<Voxel>& slabs, const ShearPlan& plan, const PoseFrame& frame, int width,
                             int height, const JacobianSink& sink, CpuLevel level) {
  const std::vector<SliceMap> maps = slice_maps(plan, slabs.strides.nk);
  ShearPlanes planes(plan, 2);
  const ShearSums sums{planes.plane(0), nullptr, nullptr, planes.plane(1), planes.stride()};
  const WarpRows warp = warp_rows_for(level);
#pragma omp parallel
  {
    sum_slices(slabs, maps.data(), plan, sums, level);
    JacobianBuffer row(width);
#pragma omp for schedule(static)
    for (int v = 0; v < height; ++v) {
      warp.jacobian({plan, sums, &frame, width}, v, row.line(), row.pose());
      sink(row.at(v));
    }
  }
}

#define FLUOROPOSE_FOR(Voxel)                                                                                \
  template void shear_warp_cpu(const Slabs<Voxel>&, const ShearPlan&, int, int, const DrrImages&, CpuLevel); \
  template void shear_warp_jacobian_cpu(const Slabs<Voxel>&, const ShearPlan&, const PoseFrame&, int, int,   \
                                        const JacobianSink&, CpuLevel);
FLUOROPOSE_FOR(float)
FLUOROPOSE_FOR(std::int16_t)
#undef FLUOROPOSE_FOR

}  // namespace fluoropose
