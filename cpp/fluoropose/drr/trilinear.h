// Trilinear interpolation at even steps of half a voxel along the ray: slower than Joseph's method, and the same for
// rays of every direction. Bodies for CPU and CUDA.
#pragma once

#include "fluoropose/drr/pose_jacobian.h"
#include "fluoropose/drr/ray_cast.h"

namespace fluoropose {

struct TrilinearRay {
  Vec3<float> first, step;  // voxels
  int count;
  float step_mm;  // times the unit of the voxels
};

// size: voxels along x, y, z, rim included.
FLUOROPOSE_HD TrilinearRay trilinear_ray(const Vec3<int>& size, const VoxelView& view, int u, int v) {
  const Vec3<double> d = view.direction(u, v);
  const Vec3<double> o = view.parallel ? view.pixel(u, v) : view.source;
  double t0 = view.parallel ? -1e300 : 0.0, t1 = 1e300;
  clip_ray(o.x, d.x, 0.0, size.x - 1.0, t0, t1);
  clip_ray(o.y, d.y, 0.0, size.y - 1.0, t0, t1);
  clip_ray(o.z, d.z, 0.0, size.z - 1.0, t0, t1);
  if (!(t0 < t1)) return {};
  const double length =
      norm(Vec3<double>{d.x * view.spacing.x, d.y * view.spacing.y, d.z * view.spacing.z}) * (t1 - t0);
  const double finest = fmin(view.spacing.x, fmin(view.spacing.y, view.spacing.z));
  const double count = fmax(1.0, ceil(length / (0.5 * finest))), dt = (t1 - t0) / count;
  return {(o + d * (t0 + 0.5 * dt)).cast<float>(), (d * dt).cast<float>(), static_cast<int>(count),
          static_cast<float>(length / count * view.unit_per_mm)};
}

// One of several parts of a ray, about as long as the others.
FLUOROPOSE_HD TrilinearRay part_of(TrilinearRay ray, int part, int parts) {
  const int begin = ray.count * part / parts;
  ray.first = ray.first + ray.step * static_cast<float>(begin);
  ray.count = ray.count * (part + 1) / parts - begin;
  return ray;
}

// The voxels around a position, q000 at the element given, and how far beyond it the position lies.
struct Cell {
  Corners low, high;  // in the slices below and above along z
  float wx, wy, wz;
  int index;
};

template <typename Voxel>
FLUOROPOSE_HD Cell cell_at(const Voxel* values, const SliceStrides& s, const Vec3<float>& p) {
  const Tap tap = joseph_tap(s, p.x, p.y, 0);
  const float z = clamp(p.z, static_cast<float>(s.nk - 1));
  int iz = static_cast<int>(z);
  iz = iz < s.nk - 2 ? iz : s.nk - 2;
  const int index = tap.index + iz * s.k;
  return {corners(values, s, {index, 0.0f, 0.0f}),
          corners(values, s, {index + s.k, 0.0f, 0.0f}),
          tap.wa,
          tap.wb,
          z - static_cast<float>(iz),
          index};
}

FLUOROPOSE_HD float trilinear(const Cell& c) {
  const float low = bilinear(c.low, c.wx, c.wy), high = bilinear(c.high, c.wx, c.wy);
  return low + c.wz * (high - low);
}

// Per voxel.
FLUOROPOSE_HD Vec3<float> trilinear_gradient(const Cell& c) {
  const float x0 = slope_a(c.low, c.wy), x1 = slope_a(c.high, c.wy);
  const float y0 = slope_b(c.low, c.wx), y1 = slope_b(c.high, c.wx);
  return {x0 + c.wz * (x1 - x0), y0 + c.wz * (y1 - y0), bilinear(c.high, c.wx, c.wy) - bilinear(c.low, c.wx, c.wy)};
}

// slices: across z.
template <bool kBone, typename Voxel>
FLUOROPOSE_HD RaySums cast_trilinear(const Slices<Voxel>& slices, const TrilinearRay& ray) {
  RaySums sums{};
  for (int i = 0; i < ray.count; ++i) {
    const Vec3<float> p = ray.first + ray.step * static_cast<float>(i);
    sums.line += trilinear(cell_at(slices.mu, slices.strides, p));
    if constexpr (kBone) {
      const Cell bone = cell_at(slices.bone, slices.strides, p);
      sums.bone += trilinear(bone);
      const float near = nearest(bone.wz < 0.5f ? bone.low : bone.high, bone.wx, bone.wy);
      sums.nearest_bone = near > sums.nearest_bone ? near : sums.nearest_bone;
    }
  }
  return sums;
}

// The line integral, which is returned, and its derivative: a sample moves with the volume, so with F the sum of the
// gradient and M that of position x gradient, both from the bone's origin, it is -(omega . M + v . F). frame: of axis
// z; origin: the bone's, voxels.
template <typename Voxel>
FLUOROPOSE_HD float cast_trilinear_jacobian(const Slices<Voxel>& slices, const TrilinearRay& ray,
                                            const PoseFrame& frame, const Vec3<float>& origin,
                                            PoseDerivative& derivative) {
  float line = 0.0f;
  Vec3<float> force{}, moment{};
  for (int i = 0; i < ray.count; ++i) {
    const Vec3<float> p = ray.first + ray.step * static_cast<float>(i);
    const Cell cell = cell_at(slices.mu, slices.strides, p);
    const Vec3<float> slope = trilinear_gradient(cell), away = p - origin;
    const Vec3<float> g{slope.x * frame.per_mm_a, slope.y * frame.per_mm_b, slope.z / frame.k_mm};
    const Vec3<float> x{away.x / frame.per_mm_a, away.y / frame.per_mm_b, away.z * frame.k_mm};
    line += trilinear(cell);
    force = force + g;
    moment = moment + cross(x, g);
  }
  const Vec3<float> turn = moment * (-ray.step_mm * frame.handed), move = force * -ray.step_mm;
  derivative = {{dot(frame.world_x, turn), dot(frame.world_y, turn), dot(frame.world_z, turn)},
                {dot(frame.world_x, move), dot(frame.world_y, move), dot(frame.world_z, move)}};
  return line * ray.step_mm;
}

}  // namespace fluoropose
