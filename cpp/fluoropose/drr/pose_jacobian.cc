#include "fluoropose/drr/pose_jacobian.h"

namespace fluoropose {

PoseFrame pose_frame(const View& view, const Affine3<double>& world_from_bone, const Affine3<double>& voxel_from_bone,
                     int axis, int nk) {
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

}  // namespace fluoropose
