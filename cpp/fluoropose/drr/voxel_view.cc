#include "fluoropose/drr/voxel_view.h"

namespace fluoropose {
namespace {

Affine3<double> rigid_inverse(const Affine3<double>& m) {
  Affine3<double> inverse{
      {m.row0.x, m.row1.x, m.row2.x}, {m.row0.y, m.row1.y, m.row2.y}, {m.row0.z, m.row1.z, m.row2.z}, {}};
  inverse.offset = inverse.linear(m.offset) * -1.0;
  return inverse;
}

}  // namespace

VoxelView voxel_view(const View& view, const Affine3<double>& world_from_bone, const Affine3<double>& voxel_from_bone,
                     double unit_per_mm) {
  const Affine3<double> bone_from_world = rigid_inverse(world_from_bone);
  const auto point = [&](const Vec3<double>& p) { return voxel_from_bone(bone_from_world(p)); };
  const auto direction = [&](const Vec3<double>& d) { return voxel_from_bone.linear(bone_from_world.linear(d)); };
  const bool parallel = view.beam == Beam::kParallel;
  // The grid's axes are orthogonal, so the rows of the inverse map are one over its sides long.
  const Vec3<double> spacing{1 / norm(voxel_from_bone.row0), 1 / norm(voxel_from_bone.row1),
                             1 / norm(voxel_from_bone.row2)};
  return {view.width,
          view.height,
          point(view.origin),
          direction(view.u_step),
          direction(view.v_step),
          parallel ? direction(view.source) : point(view.source),
          spacing,
          unit_per_mm,
          parallel};
}

}  // namespace fluoropose
