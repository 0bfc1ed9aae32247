// The sample that Joseph's method takes in a slice (P. M. Joseph, IEEE Trans. Med. Imaging 1982), shared by both
// renderers: bilinear interpolation among the four voxels around the ray.
#pragma once

#include "fluoropose/drr/images.h"
#include "fluoropose/volume/grid.h"

namespace fluoropose {

// Where a sample falls: the voxel before it along a and b, and how far towards the next in either. Positions beyond a
// slice move onto its rim, which is zero.
struct JosephCell {
  int ia, ib;
  float wa, wb;
};

// The same with the voxel's index in memory.
struct Tap {
  int index;
  float wa, wb;
};

FLUOROPOSE_HD float clamp(float x, float high) {
  x = x > 0.0f ? x : 0.0f;
  return x < high ? x : high;
}

// Of a position between the outermost voxels.
FLUOROPOSE_HD JosephCell inner_cell(float a, float b) {
  const int ia = static_cast<int>(a), ib = static_cast<int>(b);
  return {ia, ib, a - static_cast<float>(ia), b - static_cast<float>(ib)};
}

FLUOROPOSE_HD JosephCell joseph_cell(const SliceStrides& s, float a, float b) {
  a = clamp(a, static_cast<float>(s.na - 1));
  b = clamp(b, static_cast<float>(s.nb - 1));
  // The last voxel is never the one before the sample. On the rim weights are exactly 0 or 1: nothing is left there.
  const int ia = static_cast<int>(a) < s.na - 2 ? static_cast<int>(a) : s.na - 2;
  const int ib = static_cast<int>(b) < s.nb - 2 ? static_cast<int>(b) : s.nb - 2;
  return {ia, ib, a - static_cast<float>(ia), b - static_cast<float>(ib)};
}

FLUOROPOSE_HD Tap joseph_tap(const SliceStrides& s, float a, float b, int k) {
  const JosephCell cell = joseph_cell(s, a, b);
  return {cell.ia * s.a + cell.ib * s.b + k * s.k, cell.wa, cell.wb};
}

// The four voxels of a sample: q10 is one further than q00 in a, q01 in b.
struct Corners {
  float q00, q10, q01, q11;
};

template <typename Voxel>
FLUOROPOSE_HD Corners corners(const Voxel* values, const SliceStrides& s, const Tap& tap) {
  const Voxel *low = values + tap.index, *high = values + s.b + tap.index;
  return {static_cast<float>(low[0]), static_cast<float>(low[s.a]), static_cast<float>(high[0]),
          static_cast<float>(high[s.a])};
}

FLUOROPOSE_HD float bilinear(const Corners& q, float wa, float wb) {
  const float low = q.q00 + wa * (q.q10 - q.q00);
  const float high = q.q01 + wa * (q.q11 - q.q01);
  return low + wb * (high - low);
}

FLUOROPOSE_HD float nearest(const Corners& q, float wa, float wb) {
  const float low = wa < 0.5f ? q.q00 : q.q10, high = wa < 0.5f ? q.q01 : q.q11;
  return wb < 0.5f ? low : high;
}

// What a ray gathers: sums over slices, and the largest bone voxel among the nearest of each slice.
struct RaySums {
  float line, bone, nearest_bone;

  FLUOROPOSE_HD void join(const RaySums& other) {
    line += other.line, bone += other.bone;
    nearest_bone = other.nearest_bone > nearest_bone ? other.nearest_bone : nearest_bone;
  }
};

template <bool kBone, typename Voxel>
FLUOROPOSE_HD void add_sample(const Slices<Voxel>& slices, float a, float b, int k, RaySums& sums) {
  const Tap tap = joseph_tap(slices.strides, a, b, k);
  sums.line += bilinear(corners(slices.mu, slices.strides, tap), tap.wa, tap.wb);
  if constexpr (kBone) {
    const Corners q = corners(slices.bone, slices.strides, tap);
    sums.bone += bilinear(q, tap.wa, tap.wb);
    const float near = nearest(q, tap.wa, tap.wb);
    sums.nearest_bone = near > sums.nearest_bone ? near : sums.nearest_bone;
  }
}

// Sums over slices of the gradient of mu along a and b, per voxel, and of these times the slices' distance from the
// middle one, counted in slices.
struct RayGradient {
  float a0, a1, b0, b1;

  FLUOROPOSE_HD void join(const RayGradient& other) { a0 += other.a0, a1 += other.a1, b0 += other.b0, b1 += other.b1; }
};

FLUOROPOSE_HD float middle_slice(int nk) { return 0.5f * static_cast<float>(nk - 1); }

// The derivative of bilinear() with respect to a.
FLUOROPOSE_HD float slope_a(const Corners& q, float wb) {
  const float low = q.q10 - q.q00, high = q.q11 - q.q01;
  return low + wb * (high - low);
}

FLUOROPOSE_HD float slope_b(const Corners& q, float wa) {
  const float low = q.q01 - q.q00, high = q.q11 - q.q10;
  return low + wa * (high - low);
}

// 1 between the ends of an axis of n voxels, 0 where joseph_cell() moved the sample onto the rim: nothing changes
// there.
FLUOROPOSE_HD float within(float x, int n) { return x > 0.0f && x < static_cast<float>(n - 1) ? 1.0f : 0.0f; }

template <typename Voxel>
FLUOROPOSE_HD void add_gradient_sample(const Slices<Voxel>& slices, float a, float b, int k, float& line,
                                       RayGradient& g) {
  const SliceStrides& s = slices.strides;
  const Tap tap = joseph_tap(s, a, b, k);
  const Corners q = corners(slices.mu, s, tap);
  const float depth = static_cast<float>(k) - middle_slice(s.nk);
  const float along_a = slope_a(q, tap.wb) * within(a, s.na), along_b = slope_b(q, tap.wa) * within(b, s.nb);
  line += bilinear(q, tap.wa, tap.wb);
  g.a0 += along_a, g.a1 += along_a * depth;
  g.b0 += along_b, g.b1 += along_b * depth;
}

// step_mm: ray length between two slices, times the unit of the voxels.
template <bool kBone>
FLUOROPOSE_HD void store_pixel(const RaySums& sums, float step_mm, int index, const DrrImages& out) {
  out.line_integral[index] = sums.line * step_mm;
  if constexpr (kBone) {
    out.bone_line_integral[index] = sums.bone * step_mm;
    out.mask[index] = sums.nearest_bone > 0.0f;
  }
}

}  // namespace fluoropose
