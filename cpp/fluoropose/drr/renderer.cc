#include "fluoropose/drr/renderer.h"

#include <stdexcept>

#include "fluoropose/drr/ray_cast_cpu.h"

namespace fluoropose {
namespace {

void require_rigid(const Affine3<double>& pose) {
  const auto off = [](double value, double expected) { return !(std::abs(value - expected) < 1e-5); };
  if (off(dot(pose.row0, pose.row0), 1) || off(dot(pose.row1, pose.row1), 1) || off(dot(pose.row2, pose.row2), 1) ||
      off(dot(pose.row0, pose.row1), 0) || off(dot(pose.row1, pose.row2), 0) || off(dot(pose.row2, pose.row0), 0) ||
      off(dot(cross(pose.row0, pose.row1), pose.row2), 1) || !std::isfinite(norm(pose.offset))) {
    throw std::invalid_argument("world_from_bone: expected a rigid transform");
  }
}

Affine3<double> rigid_inverse(const Affine3<double>& m) {
  Affine3<double> inverse{
      {m.row0.x, m.row1.x, m.row2.x}, {m.row0.y, m.row1.y, m.row2.y}, {m.row0.z, m.row1.z, m.row2.z}, {}};
  inverse.offset = inverse.linear(m.offset) * -1.0;
  return inverse;
}

VoxelView voxel_view(const View& view, const Affine3<double>& world_from_bone, const Affine3<double>& voxel_from_bone) {
  const Affine3<double> bone_from_world = rigid_inverse(world_from_bone);
  const auto point = [&](const Vec3<double>& p) { return voxel_from_bone(bone_from_world(p)); };
  const auto direction = [&](const Vec3<double>& d) { return voxel_from_bone.linear(bone_from_world.linear(d)); };
  const bool parallel = view.beam == Beam::kParallel;
  // Rows of voxel_from_bone are orthogonal: 1 / their lengths are the voxel's sides.
  const Vec3<double> spacing{1 / norm(voxel_from_bone.row0), 1 / norm(voxel_from_bone.row1),
                             1 / norm(voxel_from_bone.row2)};
  return {point(view.origin),
          direction(view.u_step),
          direction(view.v_step),
          parallel ? direction(view.source) : point(view.source),
          spacing,
          parallel};
}

}  // namespace

void Renderer::render(const View& view, const Affine3<double>& world_from_bone, const DrrImages& out) const {
  validate(view);
  require_rigid(world_from_bone);
  if (out.mask && !has_bone()) throw std::invalid_argument("bone: the renderer was built without a bone");
  ray_cast_cpu(grid_.view(), voxel_view(view, world_from_bone, grid_.voxel_from_bone()), view.width, view.height, out);
}

}  // namespace fluoropose
