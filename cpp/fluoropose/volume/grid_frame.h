// Where a grid's voxels are: all that the planning of rays must know. Plain data, for kernels too.
#pragma once

#include "fluoropose/core/vec.h"

namespace fluoropose {

// Slices taken together (see slabs.h) as a grid of their own.
struct SlabFrame {
  Vec3<int> size;                   // slabs and voxels along x, y, z, rim included
  Affine3<double> voxel_from_bone;  // mm -> index
  int thickness;                    // slices per slab
};

struct GridFrame {
  Vec3<int> size;                   // voxels along x, y, z, rim included
  Affine3<double> voxel_from_bone;  // mm -> index
  double unit_per_mm;               // attenuation of a voxel that holds 1
  SlabFrame slabs[3];               // across x, y and z
};

// Of the inner voxels of a volume from the first one on, both along x, y, z, within a rim one voxel wide, in 1/mm.
// bone_from_voxel maps the volume's indices to mm. Throws std::invalid_argument, naming the argument, for sides below
// one, more than 2^31 voxels or a singular map.
GridFrame grid_frame(const Vec3<int>& first, const Vec3<int>& inner, const Affine3<double>& bone_from_voxel);

// Of the slabs across an axis. Slices that are thick beside their voxels' sides, or few, stay alone.
SlabFrame slab_frame(const Vec3<int>& size, const Affine3<double>& voxel_from_bone, int axis);

// The slab that holds slice k of a grid: slab m holds slices m t - t + 1 .. m t, counted from the rim.
FLUOROPOSE_HD int slab_of(int k, int thickness) { return (k - 1) / thickness + 1; }

}  // namespace fluoropose
