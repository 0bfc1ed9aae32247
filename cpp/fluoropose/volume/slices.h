// How renderers walk through voxels.
#pragma once

#include "fluoropose/core/vec.h"

namespace fluoropose {

// Elements that the CPU may read behind the last row of a grid or of slabs; they are zero.
constexpr int kReadAhead = 64;

// How a grid is walked in slices across one axis k; a and b are the other two, in the order x, y, z.
struct SliceStrides {
  int a, b, k;     // elements from voxel to voxel
  int na, nb, nk;  // voxels, rim included
};

// Of a grid (size: voxels along x, y, z, rim included) stored with x fastest, z slowest, across axis 0 (x), 1 (y) or 2
// (z).
FLUOROPOSE_HD SliceStrides slice_strides(const Vec3<int>& size, int axis) {
  const int plane = size.x * size.y;
  if (axis == 0) return {size.x, plane, 1, size.y, size.z, size.x};
  if (axis == 1) return {1, plane, size.x, size.x, size.z, size.y};
  return {1, size.x, plane, size.x, size.y, size.z};
}

// Of slices across an axis of such a grid stored one after the other, with neighbours along a side by side.
FLUOROPOSE_HD SliceStrides row_strides(const Vec3<int>& size, int axis) {
  const SliceStrides s = slice_strides(size, axis);
  return {1, s.na, s.na * s.nb, s.na, s.nb, s.nk};
}

// What a kernel sees of a grid, its slices across one axis. Voxels are in the grid's unit.
template <typename Voxel>
struct Slices {
  const Voxel* mu;
  const Voxel* bone;  // the same with everything but the bone set to zero; null where no bone is marked
  SliceStrides strides;
};

// The part of a row along a that is not zero, [first, last).
struct Extent {
  int first, last;
};

}  // namespace fluoropose
