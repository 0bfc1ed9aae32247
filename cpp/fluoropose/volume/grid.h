// The attenuation grid that the renderers read: a box of the volume within a rim of zeros one voxel wide. Between voxel centres the attenuation is interpolated linearly; it falls to zero over the rim.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "fluoropose/core/vec.h"

namespace fluoropose {

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

// Rows along a are contiguous: row (b, k) is number b * row_b + k * row_k and starts at that times na elements.
template <typename Voxel>
struct SliceRows {
  Slices<Voxel> slices;
  const Extent* mu_extents;    // by row number
  const Extent* bone_extents;  // null where no bone is marked
  int row_b, row_k;
};

// Voxels in one order of the axes, (rows, row length); what lies behind the last row may be read and is zero.
template <typename Voxel>
struct OrderedVoxels {
  std::vector<Voxel> mu, bone;
  std::vector<Extent> mu_extents, bone_extents;

  void find_extents(int row_length);
};

// How much of a volume a grid keeps: the box that holds every voxel that is not zero, or all of it, for derivatives
// with respect to voxels that are zero now.
enum class Crop { kOccupied, kWhole };

// Voxel: float, or std::int16_t for half the memory, rounded to 1/32767 of the largest attenuation.
template <typename Voxel>
class Grid {
 public:
  static constexpr int kReadAhead = 64;  // elements that may be read behind the last row

  // mu: (nz, ny, nx) 1/mm; bone: (nz, ny, nx), non-zero inside the bone, or null; bone_from_voxel maps voxel indices
  // (x, y, z) to mm. Throws std::invalid_argument, naming the argument, for sizes below one, more than 2^31 voxels
  // or a singular map.
  Grid(const float* mu, const std::uint8_t* bone, int nx, int ny, int nz, const Affine3<double>& bone_from_voxel,
       Crop crop = Crop::kOccupied);

  // Slices across axis 0 (x), 1 (y) or 2 (z), in the order x fastest, z slowest.
  Slices<Voxel> slices(int axis) const;
  // The same in an order that makes rows contiguous. The second copy that axis 0 needs is made when first asked for.
  SliceRows<Voxel> rows(int axis) const;

  Vec3<int> size() const { return {nx_, ny_, nz_}; }  // voxels, rim included
  float unit_per_mm() const { return unit_; }  // attenuation of a voxel that holds 1
  bool has_bone() const { return has_bone_; }
  const Affine3<double>& voxel_from_bone() const { return voxel_from_bone_; }  // mm -> index into the rimmed grid

 private:
  void order_y_fastest() const;

  OrderedVoxels<Voxel> xyz_;          // x fastest
  mutable OrderedVoxels<Voxel> yxz_;  // y fastest
  mutable std::once_flag yxz_once_;
  int nx_ = 0, ny_ = 0, nz_ = 0;
  float unit_ = 1.0f;
  bool has_bone_ = false;
  Affine3<double> voxel_from_bone_{};
};

}  // namespace fluoropose
