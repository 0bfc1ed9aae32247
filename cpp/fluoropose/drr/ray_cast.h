// Joseph's method: one sample in every slice across the axis that the ray follows most closely, times the length of ray
// between two slices. Bodies for CPU and CUDA.
#pragma once

#include "fluoropose/drr/joseph.h"
#include "fluoropose/drr/voxel_view.h"
#include "fluoropose/volume/bricks.h"

namespace fluoropose {

// The samples of one ray: in slice k + i dk, i = 0 .. count - 1, at (a + i da, b + i db) voxels.
struct JosephRay {
  float a, b, da, db;
  int k, dk, count;
  int axis;       // of k
  float step_mm;  // ray length between two slices, times the unit of the voxels
};

// Narrows [t0, t1] to where origin + t direction lies in [low, high].
FLUOROPOSE_HD void clip_ray(double origin, double direction, double low, double high, double& t0, double& t1) {
  if (direction == 0.0) {
    if (origin < low || origin > high) t1 = t0 - 1.0;
    return;
  }
  const double way = 1.0 / direction, to_low = (low - origin) * way, to_high = (high - origin) * way;
  const double enter = way > 0 ? to_low : to_high, leave = way > 0 ? to_high : to_low;
  t0 = enter > t0 ? enter : t0;
  t1 = leave < t1 ? leave : t1;
}

// size: voxels along x, y, z, rim included. A ray starts at a point source and goes on through the pixel; a parallel
// one is the whole line.
FLUOROPOSE_HD JosephRay joseph_ray(const Vec3<int>& size, const VoxelView& view, int u, int v) {
  const Vec3<double> d = view.direction(u, v);
  const Vec3<double> o = view.parallel ? view.pixel(u, v) : view.source;
  JosephRay ray{};
  ray.axis = dominant_axis(d);
  double t0 = view.parallel ? -1e300 : 0.0, t1 = 1e300;
  clip_ray(o.x, d.x, 0.0, size.x - 1.0, t0, t1);
  clip_ray(o.y, d.y, 0.0, size.y - 1.0, t0, t1);
  clip_ray(o.z, d.z, 0.0, size.z - 1.0, t0, t1);
  if (!(t0 <= t1)) return ray;

  const double ok = component(o, ray.axis), dk = component(d, ray.axis);
  const double enter = ok + t0 * dk, leave = ok + t1 * dk;
  const double first = dk > 0 ? ceil(enter) : floor(enter), last = dk > 0 ? floor(leave) : ceil(leave);
  ray.dk = dk > 0 ? 1 : -1;
  ray.k = static_cast<int>(first);
  ray.count = static_cast<int>((last - first) * ray.dk) + 1;
  const double t = (first - ok) / dk, dt = ray.dk / dk;
  const int a = first_axis(ray.axis), b = second_axis(ray.axis);
  ray.a = static_cast<float>(component(o, a) + t * component(d, a));
  ray.b = static_cast<float>(component(o, b) + t * component(d, b));
  ray.da = static_cast<float>(dt * component(d, a));
  ray.db = static_cast<float>(dt * component(d, b));
  const Vec3<double> step{d.x * dt * view.spacing.x, d.y * dt * view.spacing.y, d.z * dt * view.spacing.z};
  ray.step_mm = static_cast<float>(norm(step) * view.unit_per_mm);
  return ray;
}

// A ray's samples begin .. end - 1.
FLUOROPOSE_HD JosephRay shortened(JosephRay ray, int begin, int end) {
  ray.a += static_cast<float>(begin) * ray.da;
  ray.b += static_cast<float>(begin) * ray.db;
  ray.k += begin * ray.dk;
  ray.count = end - begin;
  return ray;
}

// One of several parts of a ray, about as long as the others.
FLUOROPOSE_HD JosephRay part_of(const JosephRay& ray, int part, int parts) {
  return shortened(ray, ray.count * part / parts, ray.count * (part + 1) / parts);
}

// Cuts the air before the first and behind the last thing that a ray may meet. thickness: slices of the bricks' grid
// that are one of the ray's. In a brick's length the ray moves by at most six voxels to either side of its middle, or
// nothing is cut: what it meets lies in the brick there or beside it.
FLUOROPOSE_HD void trim_ray(const Bricks& bricks, JosephRay& ray, int thickness = 1) {
  const int chunk = kBrick / thickness;
  const float sideways = fabsf(ray.da) > fabsf(ray.db) ? fabsf(ray.da) : fabsf(ray.db);
  const float t = static_cast<float>(thickness);
  if (!(sideways <= 1.5f * t)) return;
  const auto busy = [&](int begin) {
    const float i = static_cast<float>(begin) + 0.5f * static_cast<float>(chunk - 1);
    const float a = ray.a + i * ray.da, b = ray.b + i * ray.db;
    const float k = (static_cast<float>(ray.k) + i * static_cast<float>(ray.dk) - 0.5f) * t + 0.5f;
    return ray.axis == 0   ? bricks.busy_near(k, a, b)
           : ray.axis == 1 ? bricks.busy_near(a, k, b)
                           : bricks.busy_near(a, b, k);
  };
  int begin = 0, end = ray.count;
  while (begin + chunk < end && !busy(begin)) begin += chunk;
  while (end - chunk > begin && !busy(end - chunk)) end -= chunk;
  ray = shortened(ray, begin, end);
}

// slices: across the ray's axis. The sums count samples; times step_mm they are line integrals.
template <bool kBone, typename Voxel>
FLUOROPOSE_HD RaySums cast_ray(const Slices<Voxel>& slices, const JosephRay& ray) {
  RaySums sums{};
  for (int i = 0; i < ray.count; ++i) {
    const float f = static_cast<float>(i);
    add_sample<kBone>(slices, ray.a + f * ray.da, ray.b + f * ray.db, ray.k + i * ray.dk, sums);
  }
  return sums;
}

// The sum of mu, which is returned, and of its gradient.
template <typename Voxel>
FLUOROPOSE_HD float cast_gradient_ray(const Slices<Voxel>& slices, const JosephRay& ray, RayGradient& gradient) {
  float line = 0.0f;
  gradient = {};
  for (int i = 0; i < ray.count; ++i) {
    const float f = static_cast<float>(i);
    add_gradient_sample(slices, ray.a + f * ray.da, ray.b + f * ray.db, ray.k + i * ray.dk, line, gradient);
  }
  return line;
}

}  // namespace fluoropose
