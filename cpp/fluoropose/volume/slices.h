// How renderers walk through voxels.
#pragma once

namespace fluoropose {

// Elements that may be read behind the last row of a grid or of slabs; they are zero.
constexpr int kReadAhead = 64;

// How a grid is walked in slices across one axis k; a and b are the other two, in the order x, y, z.
struct SliceStrides {
  int a, b, k;     // elements from voxel to voxel
  int na, nb, nk;  // voxels, rim included
};

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
