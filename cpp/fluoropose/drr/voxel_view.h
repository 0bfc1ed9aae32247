// A view as the grid sees it: positions in voxel indices.
#pragma once

#include "fluoropose/geometry/view.h"

namespace fluoropose {

struct VoxelView {
  int width, height;                    // px
  Vec3<double> origin, u_step, v_step;  // voxel: pixel (0, 0) and the steps to the next pixels
  Vec3<double> source;                  // voxel: the source (point beam) or the beam's direction (parallel)
  Vec3<double> spacing;                 // mm per voxel along the grid's orthogonal axes
  double unit_per_mm;                   // attenuation of a voxel that holds 1
  bool parallel;

  FLUOROPOSE_HD Vec3<double> pixel(double u, double v) const { return origin + u_step * u + v_step * v; }
  // Along the ray of a pixel, away from the source; any length.
  FLUOROPOSE_HD Vec3<double> direction(double u, double v) const { return parallel ? source : pixel(u, v) - source; }
};

// The two axes across a slice axis, in the order x, y, z.
FLUOROPOSE_HD int first_axis(int slice_axis) { return slice_axis == 0 ? 1 : 0; }
FLUOROPOSE_HD int second_axis(int slice_axis) { return slice_axis == 2 ? 1 : 2; }

// The axis that a direction follows most closely, counted in voxels.
FLUOROPOSE_HD int dominant_axis(const Vec3<double>& d) {
  const double x = fabs(d.x), y = fabs(d.y), z = fabs(d.z);
  return x > y ? (x > z ? 0 : 2) : (y > z ? 1 : 2);
}

FLUOROPOSE_HD Affine3<double> rigid_inverse(const Affine3<double>& m) {
  Affine3<double> inverse{
      {m.row0.x, m.row1.x, m.row2.x}, {m.row0.y, m.row1.y, m.row2.y}, {m.row0.z, m.row1.z, m.row2.z}, {}};
  inverse.offset = inverse.linear(m.offset) * -1.0;
  return inverse;
}

// world_from_bone: rigid; voxel_from_bone: orthogonal axes; unit_per_mm: see Grid.
FLUOROPOSE_HD VoxelView voxel_view(const View& view, const Affine3<double>& world_from_bone,
                                   const Affine3<double>& voxel_from_bone, double unit_per_mm = 1.0) {
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
