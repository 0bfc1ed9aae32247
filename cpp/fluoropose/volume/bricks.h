// Which parts of a grid hold anything, so that rays need not be followed through air.
#pragma once

#include <cstdint>
#include <vector>

#include "fluoropose/core/macros.h"
#include "fluoropose/core/vec.h"

namespace fluoropose {

constexpr int kBrick = 8;  // voxels along a brick's side

// busy[(z ny + y) nx + x] is 0 where neither the brick nor any of its 26 neighbours holds anything.
struct Bricks {
  const std::uint8_t* busy;
  int nx, ny, nz;

  FLUOROPOSE_HD bool busy_near(float x, float y, float z) const {
    const int i = static_cast<int>(x) / kBrick, j = static_cast<int>(y) / kBrick, k = static_cast<int>(z) / kBrick;
    const bool inside = i >= 0 && j >= 0 && k >= 0 && i < nx && j < ny && k < nz;
    return inside && busy[(k * ny + j) * nx + i] != 0;
  }
};

// values: (nz, ny, nx) voxels.
template <typename Voxel>
std::vector<std::uint8_t> find_busy_bricks(const Voxel* values, const Vec3<int>& size);

inline int bricks_along(int voxels) { return (voxels + kBrick - 1) / kBrick; }

}  // namespace fluoropose
