#include "fluoropose/volume/grid_frame.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>

#include "fluoropose/volume/slices.h"

namespace fluoropose {
namespace {

constexpr int kFewest = 16;         // slices that are worth pairing
constexpr double kThickest = 1.25;  // of the shorter side of a voxel within the slice

Affine3<double> inverse(const Affine3<double>& m) {
  const Vec3<double> c0 = cross(m.row1, m.row2), c1 = cross(m.row2, m.row0), c2 = cross(m.row0, m.row1);
  const double determinant = dot(m.row0, c0);
  const double scale = norm(m.row0) * norm(m.row1) * norm(m.row2);
  if (!(std::abs(determinant) > 1e-12 * scale) || !std::isfinite(scale)) {
    throw std::invalid_argument("bone_from_voxel: expected an invertible map");
  }
  const double s = 1.0 / determinant;
  Affine3<double> inv{
      {c0.x * s, c1.x * s, c2.x * s}, {c0.y * s, c1.y * s, c2.y * s}, {c0.z * s, c1.z * s, c2.z * s}, {}};
  inv.offset = inv.linear(m.offset) * -1.0;
  return inv;
}

int thickness_for(const Affine3<double>& voxel_from_bone, int axis, int slices) {
  const double per_mm[3] = {norm(voxel_from_bone.row0), norm(voxel_from_bone.row1), norm(voxel_from_bone.row2)};
  const double finest = std::max(per_mm[(axis + 1) % 3], per_mm[(axis + 2) % 3]);
  return slices >= kFewest && finest <= kThickest * per_mm[axis] ? 2 : 1;
}

}  // namespace

GridFrame grid_frame(const Vec3<int>& first, const Vec3<int>& inner, const Affine3<double>& bone_from_voxel) {
  if (inner.x < 1 || inner.y < 1 || inner.z < 1) {
    throw std::invalid_argument("mu: every side must hold at least one voxel");
  }
  GridFrame frame{inner + Vec3<int>{2, 2, 2}, inverse(bone_from_voxel), 1.0, {}};
  const double count = static_cast<double>(frame.size.x) * frame.size.y * frame.size.z;
  if (count > static_cast<double>(std::numeric_limits<std::int32_t>::max() - kReadAhead)) {
    throw std::invalid_argument("mu: more than 2^31 voxels; crop or resample the volume");
  }
  frame.voxel_from_bone.offset = frame.voxel_from_bone.offset + (Vec3<int>{1, 1, 1} - first).cast<double>();
  for (int axis = 0; axis < 3; ++axis) frame.slabs[axis] = slab_frame(frame.size, frame.voxel_from_bone, axis);
  return frame;
}

SlabFrame slab_frame(const Vec3<int>& size, const Affine3<double>& voxel_from_bone, int axis) {
  const int slices = component(size, axis) - 2;
  SlabFrame frame{size, voxel_from_bone, thickness_for(voxel_from_bone, axis, slices)};
  int* const sides[3] = {&frame.size.x, &frame.size.y, &frame.size.z};
  *sides[axis] = (slices + frame.thickness - 1) / frame.thickness + 2;
  // A slab stands in the middle of its slices: slice k is at (k - 1/2) / t + 1/2 slabs.
  Affine3<double>& map = frame.voxel_from_bone;
  Vec3<double>* const rows[3] = {&map.row0, &map.row1, &map.row2};
  double* const offsets[3] = {&map.offset.x, &map.offset.y, &map.offset.z};
  *rows[axis] = *rows[axis] * (1.0 / frame.thickness);
  *offsets[axis] = (*offsets[axis] - 0.5) / frame.thickness + 0.5;
  return frame;
}

}  // namespace fluoropose
