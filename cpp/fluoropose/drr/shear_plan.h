// How shear-warp's intermediate image stands among the slices and before the detector; see shear_warp.h. Bodies for CPU
// and CUDA.
#pragma once

#include <vector>

#include "fluoropose/drr/voxel_view.h"

namespace fluoropose {

// Intermediate pixel (i, j) stands on the plane k = plane at a = a0 + i step_a, b = b0 + j step_b voxels.
struct ShearPlan {
  int axis;                             // of k
  int width, height;                    // px of the intermediate image
  double a0, b0, step_a, step_b;        // voxel
  double plane;                         // voxel
  double source_a, source_b, source_k;  // voxel: the source; parallel: slopes da/dk and db/dk, and nothing
  bool parallel;
  // Intermediate pixel of the detector's (u, v): i = row_i . (u, v, 1) / w, j = row_j . (u, v, 1) / w with
  // w = row_w . (u, v, 1), positive where the ray goes towards the slices.
  Vec3<float> row_i, row_j, row_w;
  Vec3<float> ray, ray_u, ray_v;  // mm along the grid's axes: direction of pixel (0, 0)'s ray, its change per pixel
  float slice_mm;                 // between two slices, times the unit of the voxels
};

// Where the intermediate pixels fall in one slice: pixel (i, j) at (a + i da, b + j db).
struct SliceMap {
  float a, b, da, db;
  float lever;  // distance from the plane, in slices, over the slice's scale; see warp_gradient()
};

FLUOROPOSE_HD SliceMap slice_map(const ShearPlan& p, int k) {
  if (p.parallel) {
    const double shift = k - p.plane;
    return {static_cast<float>(p.a0 + shift * p.source_a), static_cast<float>(p.b0 + shift * p.source_b),
            static_cast<float>(p.step_a), static_cast<float>(p.step_b), static_cast<float>(shift)};
  }
  const double scale = (k - p.source_k) / (p.plane - p.source_k);
  return {static_cast<float>(p.source_a + (p.a0 - p.source_a) * scale),
          static_cast<float>(p.source_b + (p.b0 - p.source_b) * scale), static_cast<float>(p.step_a * scale),
          static_cast<float>(p.step_b * scale), static_cast<float>((k - p.plane) / scale)};
}

// The maps of slices 0 .. count - 1.
inline std::vector<SliceMap> slice_maps(const ShearPlan& plan, int count) {
  std::vector<SliceMap> maps(static_cast<std::size_t>(count));
  for (int k = 0; k < count; ++k) maps[static_cast<std::size_t>(k)] = slice_map(plan, k);
  return maps;
}

constexpr double kSteepest = 3.5;     // voxels sideways per slab, at the image's corners
constexpr double kScaleRange = 3.0;   // between the nearest and the farthest slice
constexpr double kShearMargin = 3.0;  // px of the intermediate image around what is seen
// Steps of the intermediate image follow the detector's pixels between these limits. On a head CT of 1 mm voxels the
// image's RMS error against ray casting is then 0.1 to 0.4 % of its range; steps of 2 voxels would double it.
constexpr double kFinestStep = 0.75, kCoarsestStep = 1.5;  // voxels

struct Interval {
  double low = 1e300, high = -1e300;
  FLUOROPOSE_HD void add(double x) { low = fmin(low, x), high = fmax(high, x); }
  FLUOROPOSE_HD void intersect(const Interval& o) { low = fmax(low, o.low), high = fmin(high, o.high); }
};

// Everything about the plan that a pixel's ray decides, as affine functions of (u, v, 1).
struct PixelMap {
  Vec3<double> a, b, w;  // position on the plane, times w

  FLUOROPOSE_HD double at(const Vec3<double>& row, double u, double v) const { return row.x * u + row.y * v + row.z; }
};

FLUOROPOSE_HD PixelMap pixel_map(const ShearPlan& p, const VoxelView& view) {
  const int a = first_axis(p.axis), b = second_axis(p.axis);
  const auto affine = [&](int axis) {
    return Vec3<double>{component(view.u_step, axis), component(view.v_step, axis), component(view.origin, axis)};
  };
  const Vec3<double> pa = affine(a), pb = affine(b), pk = affine(p.axis);
  const Vec3<double> one{0, 0, 1};
  if (p.parallel) {
    const Vec3<double> ahead = one * p.plane - pk;
    return {pa + ahead * p.source_a, pb + ahead * p.source_b, one};
  }
  const Vec3<double> w = (pk - one * p.source_k) * (1 / (p.plane - p.source_k));
  return {pa + (w - one) * p.source_a, pb + (w - one) * p.source_b, w};
}

FLUOROPOSE_HD bool steep(const VoxelView& view, int axis, double u, double v) {
  const Vec3<double> d = view.direction(u, v);
  const double sideways = fmax(fabs(component(d, first_axis(axis))), fabs(component(d, second_axis(axis))));
  return !(sideways <= kSteepest * fabs(component(d, axis)));
}

// Where the plane sees the grid, rim included: the projections of its first and last slice.
FLUOROPOSE_HD void grid_bounds(const ShearPlan& p, const Vec3<int>& size, Interval& a, Interval& b) {
  const double na = component(size.cast<double>(), first_axis(p.axis)) - 1;
  const double nb = component(size.cast<double>(), second_axis(p.axis)) - 1;
  for (const double k : {1.0, component(size.cast<double>(), p.axis) - 2}) {
    const auto to_plane = [&](double x, double source) {
      return p.parallel ? x - (k - p.plane) * source
                        : source + (x - source) * (p.plane - p.source_k) / (k - p.source_k);
    };
    a.add(to_plane(0, p.source_a)), a.add(to_plane(na, p.source_a));
    b.add(to_plane(0, p.source_b)), b.add(to_plane(nb, p.source_b));
  }
}

// Of the intermediate image of a detector. One that needs more has pixels so coarse that casting their rays one by one
// is faster and better; and memory for this many always suffices.
FLUOROPOSE_HD double most_shear_pixels(int width, int height) {
  return 8.0 * width * static_cast<double>(height) + 32768.0;
}

// The axis that the ray through the image's centre follows most closely, counted in voxels: the slabs to shear.
FLUOROPOSE_HD int shear_axis(const VoxelView& view) {
  return dominant_axis(view.direction((view.width - 1) / 2.0, (view.height - 1) / 2.0));
}

// False where a source lies within the slices first .. last, or so close to them that their scales differ too much.
FLUOROPOSE_HD bool place_source(const VoxelView& view, double first, double last, ShearPlan& p) {
  const double a = component(view.source, first_axis(p.axis)), b = component(view.source, second_axis(p.axis));
  const double k = component(view.source, p.axis);
  if (p.parallel) {
    p.source_a = a / k, p.source_b = b / k;
    return true;
  }
  p.source_a = a, p.source_b = b, p.source_k = k;
  const double near = fmin(fabs(first - k), fabs(last - k)), far = fmax(fabs(first - k), fabs(last - k));
  return (k <= first - 1 || k >= last + 1) && far <= kScaleRange * near;
}

// Where the plane sees the detector, by its corners. False where the ray of one is steep or does not go ahead.
FLUOROPOSE_HD bool detector_bounds(const ShearPlan& p, const VoxelView& view, const PixelMap& map, Interval& a,
                                   Interval& b) {
  for (const double u : {-0.5, view.width - 0.5}) {
    for (const double v : {-0.5, view.height - 0.5}) {
      const double w = map.at(map.w, u, v);
      if (steep(view, p.axis, u, v) || !(w > 0)) return false;
      a.add(map.at(map.a, u, v) / w), b.add(map.at(map.b, u, v) / w);
    }
  }
  return true;
}

// Steps as far as one detector pixel goes on the plane at the image's centre (u, v): by the inverse of the derivative
// of the map from pixels to the plane, so that a step of that length moves the image by one pixel.
FLUOROPOSE_HD void choose_steps(const PixelMap& map, double u, double v, ShearPlan& p) {
  const double w = map.at(map.w, u, v), a = map.at(map.a, u, v) / w, b = map.at(map.b, u, v) / w;
  const double au = (map.a.x - a * map.w.x) / w, av = (map.a.y - a * map.w.y) / w;
  const double bu = (map.b.x - b * map.w.x) / w, bv = (map.b.y - b * map.w.y) / w;
  const double determinant = fabs(au * bv - av * bu);
  p.step_a = fmin(fmax(determinant / hypot(bu, bv), kFinestStep), kCoarsestStep);
  p.step_b = fmin(fmax(determinant / hypot(au, av), kFinestStep), kCoarsestStep);
}

// False where the rays cannot be sheared well: the source within the slices or close to them, rays that run so nearly
// along the slices that one sample per slice is too coarse, or pixels much coarser than voxels. size: slabs and voxels
// along x, y, z, rim included; view: as these slabs see it.
FLUOROPOSE_HD bool plan_shear(const Vec3<int>& size, const VoxelView& view, int axis, ShearPlan& plan) {
  ShearPlan p{};
  p.axis = axis;
  p.parallel = view.parallel;
  const double first = 1, last = component(size.cast<double>(), axis) - 2;
  p.plane = (first + last) / 2;
  if (!place_source(view, first, last, p)) return false;

  const PixelMap map = pixel_map(p, view);
  Interval grid_a, grid_b, seen_a, seen_b;
  grid_bounds(p, size, grid_a, grid_b);
  if (!detector_bounds(p, view, map, seen_a, seen_b)) return false;
  grid_a.intersect(seen_a), grid_b.intersect(seen_b);

  choose_steps(map, (view.width - 1) / 2.0, (view.height - 1) / 2.0, p);
  p.a0 = grid_a.low - kShearMargin * p.step_a;
  p.b0 = grid_b.low - kShearMargin * p.step_b;
  const double wide = fmax(0.0, ceil((grid_a.high - p.a0) / p.step_a + kShearMargin)) + 1;
  const double high = fmax(0.0, ceil((grid_b.high - p.b0) / p.step_b + kShearMargin)) + 1;
  if (wide * high > most_shear_pixels(view.width, view.height)) return false;
  p.width = static_cast<int>(wide), p.height = static_cast<int>(high);
  if (!(grid_a.low <= grid_a.high && grid_b.low <= grid_b.high)) p.width = p.height = 0;

  p.row_i = ((map.a - map.w * p.a0) * (1 / p.step_a)).cast<float>();
  p.row_j = ((map.b - map.w * p.b0) * (1 / p.step_b)).cast<float>();
  p.row_w = map.w.cast<float>();
  const auto mm = [&](const Vec3<double>& d) {
    return Vec3<double>{d.x * view.spacing.x, d.y * view.spacing.y, d.z * view.spacing.z}.cast<float>();
  };
  p.ray = mm(view.direction(0, 0));
  p.ray_u = view.parallel ? Vec3<float>{} : mm(view.u_step);
  p.ray_v = view.parallel ? Vec3<float>{} : mm(view.v_step);
  p.slice_mm = static_cast<float>(component(view.spacing, axis) * view.unit_per_mm);
  plan = p;
  return true;
}

}  // namespace fluoropose
