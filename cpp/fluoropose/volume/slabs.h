// A grid as shear-warp reads it along one axis: slices in memory order, taken together in pairs.
//
// A detector's pixels are rarely finer than voxels, and rays cross the slices rather steeply: that the mean of two
// neighbouring slices stands half-way between them moves each by less than half a voxel sideways. On a head CT this
// raises the error from 0.17 to at most 0.3 % of the image's range and halves the work.
#pragma once

#include <type_traits>
#include <vector>

#include "fluoropose/volume/grid_frame.h"
#include "fluoropose/volume/slices.h"

namespace fluoropose {

template <typename Voxel>
class Grid;

template <typename Voxel>
struct Slabs : SlabFrame {
  std::vector<Voxel> mu, bone;                   // (nk, nb, na) with a rim of zeros; bone is empty where none is marked
  std::vector<Extent> mu_extents, bone_extents;  // of the rows along a, by number b + nb k
  SliceStrides strides;

  Slices<Voxel> slices() const { return {mu.data(), bone.empty() ? nullptr : bone.data(), strides}; }
};

// The slices that slab m holds, of a grid of so many; the last of an odd number goes with the rim.
struct SlabSlices {
  int first, second;
};
FLUOROPOSE_HD SlabSlices slices_of(int m, int thickness, int slices) {
  const int first = (m - 1) * thickness + 1, second = first + thickness - 1;
  return {first, second < slices ? second : slices - 1};
}

// What a slab holds where its slices hold these.
template <typename Voxel>
FLUOROPOSE_HD Voxel mean(Voxel first, Voxel second) {
  if constexpr (std::is_same_v<Voxel, float>) {
    return 0.5f * (first + second);
  } else {
    // Halves go to the even number, so that there is no drift; but what is not zero stays so.
    const int sum = static_cast<int>(first) + static_cast<int>(second), half = sum >> 1;
    return static_cast<Voxel>(sum == 1 ? 1 : half + (sum & half & 1));
  }
}

// Slabs across an axis (0: x, 1: y, 2: z).
template <typename Voxel>
Slabs<Voxel> make_slabs(const Grid<Voxel>& grid, int axis);

// The transpose of taking slices together: adds to each its share of by_slab. by_voxel: of the grid, walked by its
// strides.
void spread(const Slabs<float>& slabs, const float* by_slab, const SliceStrides& grid, float* by_voxel);

}  // namespace fluoropose
