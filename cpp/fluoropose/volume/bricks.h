// Which parts of a grid hold anything, so that rays need not be followed through air.
#pragma once

#include <cstdint>
#include <vector>

#include "fluoropose/core/macros.h"
#include "fluoropose/core/vec.h"

namespace fluoropose {

constexpr int kBrick = 8;  // voxels along a brick's side

FLUOROPOSE_HD Vec3<int> bricks_of(const Vec3<int>& voxels) {
  return {(voxels.x + kBrick - 1) / kBrick, (voxels.y + kBrick - 1) / kBrick, (voxels.z + kBrick - 1) / kBrick};
}

// busy[(z size.y + y) size.x + x] is 0 where neither the brick nor any of its 26 neighbours holds anything.
struct Bricks {
  const std::uint8_t* busy;
  Vec3<int> size;  // bricks along x, y, z

  FLUOROPOSE_HD bool busy_near(float x, float y, float z) const {
    const int i = static_cast<int>(x) / kBrick, j = static_cast<int>(y) / kBrick, k = static_cast<int>(z) / kBrick;
    const bool inside = i >= 0 && j >= 0 && k >= 0 && i < size.x && j < size.y && k < size.z;
    return inside && busy[(k * size.y + j) * size.x + i] != 0;
  }
};

// Marks brick i of the bricks along a row of voxels, the row (y, z) of a grid, if the row holds anything there.
// filled: of bricks as Bricks::busy, without regard to neighbours.
template <typename Voxel>
FLUOROPOSE_HD void fill_brick(const Voxel* values, const Vec3<int>& size, int i, int y, int z, std::uint8_t* filled) {
  const Vec3<int> bricks = bricks_of(size);
  const Voxel* row = values + (static_cast<std::ptrdiff_t>(z) * size.y + y) * size.x;
  const int end = (i + 1) * kBrick < size.x ? (i + 1) * kBrick : size.x;
  bool any = false;
  for (int x = i * kBrick; x < end; ++x) any |= row[x] != Voxel{0};
  if (any) filled[(z / kBrick * bricks.y + y / kBrick) * bricks.x + i] = 1;
}

// What Bricks::busy holds of brick (x, y, z).
FLUOROPOSE_HD std::uint8_t filled_near(const std::uint8_t* filled, const Vec3<int>& bricks, int x, int y, int z) {
  std::uint8_t any = 0;
  for (int k = z > 0 ? z - 1 : 0; k <= z + 1 && k < bricks.z; ++k) {
    for (int j = y > 0 ? y - 1 : 0; j <= y + 1 && j < bricks.y; ++j) {
      for (int i = x > 0 ? x - 1 : 0; i <= x + 1 && i < bricks.x; ++i) any |= filled[(k * bricks.y + j) * bricks.x + i];
    }
  }
  return any;
}

// Of a grid of voxels, of which size are along x, y, z, and of the bone in it (null: none), which need not attenuate.
template <typename Voxel>
std::vector<std::uint8_t> find_busy_bricks(const Voxel* mu, const Voxel* bone, const Vec3<int>& size);

}  // namespace fluoropose
