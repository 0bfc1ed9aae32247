// Shear-warp (P. Lacroute and M. Levoy, SIGGRAPH 1994) for parallel beams and, because slices parallel to each other
// are seen through one similarity each, for a point source: slices are resampled onto an intermediate image on a plane
// parallel to them and summed there, which is Joseph's method for the rays of that image; one homography then carries
// the sums to the detector. Bodies for CPU and CUDA.
#pragma once

#include "fluoropose/drr/joseph.h"
#include "fluoropose/drr/pose_jacobian.h"
#include "fluoropose/drr/ray_cast.h"
#include "fluoropose/drr/shear_plan.h"

namespace fluoropose {

// The intermediate image, counted in samples.
struct ShearSums {
  float* line;
  float* bone;          // null where no bone is asked for
  float* nearest_bone;  // null likewise
  float* lever;         // samples times SliceMap::lever; null where no derivative is asked for
  int stride;           // elements from row to row
};

// The way of its pixel (i, j) through the slices, the rim's not among them; s: theirs. It may be a slice longer than
// what it meets: joseph_tap() moves what lies beyond onto the rim.
FLUOROPOSE_HD JosephRay shear_ray(const ShearPlan& p, const SliceStrides& s, int i, int j) {
  const double a = p.a0 + i * p.step_a, b = p.b0 + j * p.step_b;
  const double per_slice = p.parallel ? 0.0 : 1 / (p.plane - p.source_k);
  const double da = p.parallel ? p.source_a : (a - p.source_a) * per_slice;
  const double db = p.parallel ? p.source_b : (b - p.source_b) * per_slice;
  double before = 1 - p.plane, behind = s.nk - 2 - p.plane;
  clip_ray(a, da, 0.0, s.na - 1.0, before, behind);
  clip_ray(b, db, 0.0, s.nb - 1.0, before, behind);
  JosephRay ray{};
  ray.axis = p.axis;
  if (!(before <= behind)) return ray;
  ray.dk = 1;
  ray.k = static_cast<int>(ceil(p.plane + before));
  ray.count = static_cast<int>(floor(p.plane + behind)) - ray.k + 1;
  ray.count = ray.count > 0 ? ray.count : 0;
  const double t = ray.k - p.plane;
  ray.a = static_cast<float>(a + t * da), ray.b = static_cast<float>(b + t * db);
  ray.da = static_cast<float>(da), ray.db = static_cast<float>(db);
  return ray;
}

// A pixel's sums of samples and of samples times their slice's lever.
struct LeverSums {
  float line, lever;

  FLUOROPOSE_HD void join(const LeverSums& other) { line += other.line, lever += other.lever; }
};

// levers: of every slice, see SliceMap.
template <typename Voxel>
FLUOROPOSE_HD LeverSums cast_lever_ray(const Slices<Voxel>& slices, const JosephRay& ray, const float* levers) {
  LeverSums sums{};
  for (int i = 0; i < ray.count; ++i) {
    const float f = static_cast<float>(i);
    RaySums sample{};
    add_sample<false>(slices, ray.a + f * ray.da, ray.b + f * ray.db, ray.k + i, sample);
    sums.line += sample.line;
    sums.lever += levers[ray.k + i] * sample.line;
  }
  return sums;
}

// The cubic convolution kernel with a = -1/2 (R. G. Keys, IEEE Trans. Acoust. 1981, Eq. 4) at the four pixels around t.
struct CubicWeights {
  float w[4];
};

FLUOROPOSE_HD CubicWeights cubic_weights(float t) {
  const float t2 = t * t, t3 = t2 * t;
  return {{0.5f * (-t3 + 2.0f * t2 - t), 0.5f * (3.0f * t3 - 5.0f * t2 + 2.0f), 0.5f * (-3.0f * t3 + 4.0f * t2 + t),
           0.5f * (t3 - t2)}};
}

// Where a detector pixel falls in the intermediate image: the first of its 4 x 4 pixels and the position among them;
// inside is false where no slice is seen.
struct WarpTap {
  int index;
  float ti, tj;
  float step_mm;
  bool inside;
};

FLUOROPOSE_HD WarpTap warp_tap(const ShearPlan& p, int stride, int u, int v) {
  const Vec3<float> px{static_cast<float>(u), static_cast<float>(v), 1.0f};
  const float w = dot(p.row_w, px);
  const float i = dot(p.row_i, px) / w, j = dot(p.row_j, px) / w;
  // The plan leaves two pixels around whatever is seen. Without branches, so that loops over pixels become vectors; a
  // pixel outside reads what it may and is then zero.
  const float end_i = static_cast<float>(p.width - 2), end_j = static_cast<float>(p.height - 2);
  const bool inside = (w > 0.0f) & (i >= 1.0f) & (j >= 1.0f) & (i < end_i) & (j < end_j);
  const float si = inside ? i : 1.0f, sj = inside ? j : 1.0f;
  const int ii = static_cast<int>(si), jj = static_cast<int>(sj);
  const Vec3<float> ray = p.ray + p.ray_u * px.x + p.ray_v * px.y;
  const float along = p.axis == 0 ? ray.x : p.axis == 1 ? ray.y : ray.z;
  const float step_mm = p.slice_mm * norm(ray) / fabsf(along);
  return {(jj - 1) * stride + ii - 1, si - static_cast<float>(ii), sj - static_cast<float>(jj), inside ? step_mm : 0.0f,
          inside};
}

// The intermediate image between its pixels; at: the first of the tap's 4 x 4 pixels.
FLUOROPOSE_HD float warp_sum(const float* at, int stride, const WarpTap& tap) {
  const CubicWeights wi = cubic_weights(tap.ti), wj = cubic_weights(tap.tj);
  float column[4] = {};
  for (int r = 0; r < 4; ++r) {
    for (int c = 0; c < 4; ++c) column[c] += wj.w[r] * at[r * stride + c];
  }
  return wi.w[0] * column[0] + wi.w[1] * column[1] + wi.w[2] * column[2] + wi.w[3] * column[3];
}

// Cubic interpolation overshoots at edges, attenuation does not.
FLUOROPOSE_HD float warp_line(const float* at, int stride, const WarpTap& tap) {
  const float sum = warp_sum(at, stride, tap);
  return sum < 0.0f ? 0.0f : sum;  // NaN stays
}

// Whether more than half of the bilinear weight lies on pixels whose ray meets the bone.
FLUOROPOSE_HD bool warp_mask(const float* at, int stride, const WarpTap& tap) {
  const float* q = at + stride + 1;
  const auto met = [](float value) { return value > 0.0f ? 1.0f : 0.0f; };
  const Corners c{met(q[0]), met(q[1]), met(q[stride]), met(q[stride + 1])};
  return bilinear(c, tap.ti, tap.tj) >= 0.5f;
}

// One detector pixel, index of the image.
template <bool kBone>
FLUOROPOSE_HD void warp_pixel(const ShearSums& sums, const WarpTap& tap, int index, const DrrImages& out) {
  RaySums ray{};
  if (tap.inside) {
    ray.line = warp_line(sums.line + tap.index, sums.stride, tap);
    if constexpr (kBone) {
      ray.bone = warp_line(sums.bone + tap.index, sums.stride, tap);
      ray.nearest_bone = warp_mask(sums.nearest_bone + tap.index, sums.stride, tap) ? 1.0f : 0.0f;
    }
  }
  store_pixel<kBone>(ray, tap.step_mm, index, out);
}

FLUOROPOSE_HD CubicWeights cubic_slopes(float t) {
  const float t2 = t * t;
  return {{0.5f * (-3.0f * t2 + 4.0f * t - 1.0f), 0.5f * (9.0f * t2 - 10.0f * t), 0.5f * (-9.0f * t2 + 8.0f * t + 1.0f),
           0.5f * (3.0f * t2 - 2.0f * t)}};
}

struct WarpSlopes {
  float sum, di, dj;  // the intermediate image between its pixels, and how it changes with i and j
};

FLUOROPOSE_HD WarpSlopes warp_slopes(const float* at, int stride, const WarpTap& tap) {
  const CubicWeights wi = cubic_weights(tap.ti), wj = cubic_weights(tap.tj);
  const CubicWeights si = cubic_slopes(tap.ti), sj = cubic_slopes(tap.tj);
  float column[4] = {}, slope[4] = {};
  for (int r = 0; r < 4; ++r) {
    for (int c = 0; c < 4; ++c) {
      const float q = at[r * stride + c];
      column[c] += wj.w[r] * q;
      slope[c] += sj.w[r] * q;
    }
  }
  const auto across = [](const CubicWeights& w, const float* x) {
    return w.w[0] * x[0] + w.w[1] * x[1] + w.w[2] * x[2] + w.w[3] * x[3];
  };
  return {across(wi, column), across(si, column), across(wi, slope)};
}

// The line integral of one detector pixel, which is returned, and the gradient sums of its ray, from the slopes of two
// intermediate images. Moved by one voxel on the plane, the ray from a fixed source moves by
// scale = 1 + (k - plane) / (plane - source_k) in slice k. So the slope of the line image is
// a0 + a1 / (plane - source_k), and that of the image in which each slice counts (k - plane) / scale times is a1.
FLUOROPOSE_HD float warp_gradient(const ShearPlan& p, const ShearSums& sums, const WarpTap& tap,
                                  RayGradient& gradient) {
  gradient = {};
  if (!tap.inside) return 0.0f;
  const WarpSlopes line = warp_slopes(sums.line + tap.index, sums.stride, tap);
  if (line.sum <= 0.0f) return 0.0f;  // air, or where warp_line() cuts an overshoot off; NaN stays
  const WarpSlopes lever = warp_slopes(sums.lever + tap.index, sums.stride, tap);
  const float per_a = static_cast<float>(1 / p.step_a), per_b = static_cast<float>(1 / p.step_b);
  const float near = p.parallel ? 0.0f : static_cast<float>(1 / (p.plane - p.source_k));
  const float a1 = lever.di * per_a, b1 = lever.dj * per_b;
  gradient = {line.di * per_a - near * a1, a1, line.dj * per_b - near * b1, b1};
  return line.sum * tap.step_mm;
}

}  // namespace fluoropose
