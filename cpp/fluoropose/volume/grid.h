// The attenuation grid that the renderers read: a box of the volume within a rim of zeros one voxel wide. Between voxel
// centres the attenuation is interpolated linearly; it falls to zero over the rim.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "fluoropose/core/vec.h"
#include "fluoropose/volume/bricks.h"
#include "fluoropose/volume/grid_frame.h"
#include "fluoropose/volume/slabs.h"
#include "fluoropose/volume/slices.h"

namespace fluoropose {

// How much of a volume a grid keeps: the box that holds every voxel that is not zero, or all of it, for derivatives
// with respect to voxels that are zero now.
enum class Crop { kOccupied, kWhole };

// Number of a part of a label map; 0 is none.
using Label = std::uint16_t;

// Voxel: float; std::int16_t for half the memory, rounded to 1/32767 of the largest attenuation; or Label, where mu
// holds whole numbers, which are kept as they are, and there are no slabs.
template <typename Voxel>
class Grid {
 public:
  // mu: (nz, ny, nx) 1/mm; bone: (nz, ny, nx), non-zero inside the bone, or null; bone_from_voxel maps voxel indices
  // (x, y, z) to mm. Throws std::invalid_argument, naming the argument, for sizes below one, more than 2^31 voxels
  // or a singular map.
  Grid(const float* mu, const std::uint8_t* bone, int nx, int ny, int nz, const Affine3<double>& bone_from_voxel,
       Crop crop = Crop::kOccupied);

  // Slices across axis 0 (x), 1 (y) or 2 (z), in the order x fastest, z slowest.
  Slices<Voxel> slices(int axis) const;
  // As slices(), with neighbours along a side by side in memory: across x from a copy made when first asked for.
  Slices<Voxel> rows(int axis) const;
  // These are made when first asked for, too.
  Bricks bricks() const;
  const Slabs<Voxel>& slabs(int axis) const;  // as shear-warp reads it

  const GridFrame& frame() const { return frame_; }
  const Vec3<int>& size() const { return frame_.size; }
  const Affine3<double>& voxel_from_bone() const { return frame_.voxel_from_bone; }
  bool has_bone() const { return !bone_.empty(); }

 private:
  GridFrame frame_{};
  std::vector<Voxel> mu_, bone_;  // x fastest
  mutable std::vector<std::uint8_t> busy_;
  mutable std::once_flag once_busy_;
  mutable Slabs<Voxel> slabs_[3];
  mutable std::once_flag once_[3];
  mutable std::vector<Voxel> mu_across_x_, bone_across_x_;  // y fastest, x slowest
  mutable std::once_flag once_across_x_;
};

}  // namespace fluoropose
