// The attenuation grid that the renderers read: the box that holds every non-zero voxel, within a rim of zeros one
// voxel wide. Between voxel centres the attenuation is interpolated linearly; it falls to zero over the rim.
#pragma once

#include <cstdint>
#include <vector>

#include "fluoropose/core/vec.h"

namespace fluoropose {

// What a kernel sees. Sizes count the rim; x runs fastest.
struct GridView {
  const float* mu;    // 1/mm, (nz, ny, nx)
  const float* bone;  // 1/mm, the same grid with everything but the bone set to zero; null where no bone is marked
  int nx, ny, nz;
};

class Grid {
 public:
  // mu: (nz, ny, nx) 1/mm; bone: (nz, ny, nx), non-zero inside the bone, or null; bone_from_voxel maps voxel indices
  // (x, y, z) to mm. Throws std::invalid_argument, naming the argument, for sizes below one, more than 2^31 voxels
  // or a singular map.
  Grid(const float* mu, const std::uint8_t* bone, int nx, int ny, int nz, const Affine3<double>& bone_from_voxel);

  GridView view() const { return {mu_.data(), bone_.empty() ? nullptr : bone_.data(), nx_, ny_, nz_}; }
  bool has_bone() const { return has_bone_; }
  const Affine3<double>& voxel_from_bone() const { return voxel_from_bone_; }  // mm -> index into the rimmed grid

 private:
  std::vector<float> mu_, bone_;
  int nx_ = 0, ny_ = 0, nz_ = 0;
  bool has_bone_ = false;
  Affine3<double> voxel_from_bone_{};
};

}  // namespace fluoropose
