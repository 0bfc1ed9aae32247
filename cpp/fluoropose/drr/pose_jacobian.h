// The derivative of a pixel with respect to the pose, from sums that a ray gathers on its one way through the slices.
//
// A ray crosses the slice at k (mm along the slice axis) at a = p_a + s_a (k - middle), b = p_b + s_b (k - middle). Its
// sum changes with these four numbers by sums of the slices' in-plane gradient and of that gradient times the distance
// from the middle slice; the four change with the pose by the chain rule. The result is the derivative of the discrete
// sum of Joseph's method, step length included, between the kinks that linear interpolation has at voxel faces. Bodies
// for CPU and CUDA.
#pragma once

#include "fluoropose/drr/joseph.h"
#include "fluoropose/drr/voxel_view.h"

namespace fluoropose {

// d pixel / d pose for world_from_bone' with rotation exp(omega) R and translation t + v: world axes, omega about the
// bone's origin, per radian and per mm.
struct PoseDerivative {
  Vec3<float> omega, v;
};

// To pixel u of a row for each parameter, see JacobianRow.
FLUOROPOSE_HD void store_derivative(const PoseDerivative& d, int u, float* const pose[6]) {
  pose[0][u] = d.omega.x, pose[1][u] = d.omega.y, pose[2][u] = d.omega.z;
  pose[3][u] = d.v.x, pose[4][u] = d.v.y, pose[5][u] = d.v.z;
}

// The rays as slices across one axis k see them: mm along the grid's axes a, b, k (in x, y, z of the vectors) from the
// bone's origin. The ray of pixel (u, v) runs through start along ray, both affine in the pixel.
struct PoseFrame {
  Vec3<float> start, start_u, start_v, ray, ray_u, ray_v;
  float middle;                           // of the slices, along k
  float per_mm_a, per_mm_b, k_mm;         // voxels per mm, mm per slice
  Vec3<float> world_x, world_y, world_z;  // rows of the rotation from (a, b, k) to the world
  float handed;                           // -1 where (a, b, k) is left-handed
};

FLUOROPOSE_HD PoseFrame pose_frame(const View& view, const Affine3<double>& world_from_bone,
                                   const Affine3<double>& voxel_from_bone, int axis, int nk) {
  const Vec3<double> rows[3] = {voxel_from_bone.row0, voxel_from_bone.row1, voxel_from_bone.row2};
  const int a = first_axis(axis), b = second_axis(axis);
  const auto unit = [&](int i) { return world_from_bone.linear(rows[i] * (1 / norm(rows[i]))); };
  const Vec3<double> ea = unit(a), eb = unit(b), ek = unit(axis);
  const auto along = [&](const Vec3<double>& d) { return Vec3<double>{dot(ea, d), dot(eb, d), dot(ek, d)}; };
  const auto place = [&](const Vec3<double>& p) { return along(p - world_from_bone.offset); };
  const double per_mm_k = norm(rows[axis]);

  PoseFrame f{};
  if (view.beam == Beam::kParallel) {
    f.start = place(view.origin).cast<float>();
    f.start_u = along(view.u_step).cast<float>(), f.start_v = along(view.v_step).cast<float>();
    f.ray = along(view.source).cast<float>();
  } else {
    f.start = place(view.source).cast<float>();
    f.ray = along(view.origin - view.source).cast<float>();
    f.ray_u = along(view.u_step).cast<float>(), f.ray_v = along(view.v_step).cast<float>();
  }
  f.middle = static_cast<float>((middle_slice(nk) - component(voxel_from_bone.offset, axis)) / per_mm_k);
  f.per_mm_a = static_cast<float>(norm(rows[a])), f.per_mm_b = static_cast<float>(norm(rows[b]));
  f.k_mm = static_cast<float>(1 / per_mm_k);
  f.world_x = Vec3<double>{ea.x, eb.x, ek.x}.cast<float>();
  f.world_y = Vec3<double>{ea.y, eb.y, ek.y}.cast<float>();
  f.world_z = Vec3<double>{ea.z, eb.z, ek.z}.cast<float>();
  f.handed = dot(cross(ea, eb), ek) > 0 ? 1.0f : -1.0f;
  return f;
}

// line: the pixel's line integral; step_mm: ray length between two slices.
FLUOROPOSE_HD PoseDerivative pose_derivative(const PoseFrame& f, float u, float v, float line, float step_mm,
                                             const RayGradient& g) {
  const Vec3<float> start = f.start + f.start_u * u + f.start_v * v;
  const Vec3<float> d = f.ray + f.ray_u * u + f.ray_v * v;
  const float slope_a = d.x / d.z, slope_b = d.y / d.z, ahead = f.middle - start.z;
  const Vec3<float> slope{slope_a, slope_b, 1.0f};
  const Vec3<float> middle = start + slope * ahead;
  // A move along the ray changes nothing: the component along k follows from the other two.
  const float sa = g.a0 * f.per_mm_a, sb = g.b0 * f.per_mm_b;
  const float ta = g.a1 * f.per_mm_a * f.k_mm, tb = g.b1 * f.per_mm_b * f.k_mm;
  const Vec3<float> shift{sa, sb, -(slope_a * sa + slope_b * sb)};
  const Vec3<float> tilt{ta, tb, -(slope_a * ta + slope_b * tb)};
  const Vec3<float> length{slope_b * line, -slope_a * line, 0.0f};  // of the step: line (d x k) / d_k
  const Vec3<float> turn = (length - (cross(middle, shift) + cross(slope, tilt)) * step_mm) * f.handed;
  const Vec3<float> move = shift * -step_mm;
  return {{dot(f.world_x, turn), dot(f.world_y, turn), dot(f.world_z, turn)},
          {dot(f.world_x, move), dot(f.world_y, move), dot(f.world_z, move)}};
}

}  // namespace fluoropose
