#include "fluoropose/volume/bricks.h"

namespace fluoropose {

template <typename Voxel>
std::vector<std::uint8_t> find_busy_bricks(const Voxel* mu, const Voxel* bone, const Vec3<int>& size) {
  const Vec3<int> bricks = bricks_of(size);
  std::vector<std::uint8_t> filled(static_cast<std::size_t>(bricks.x) * bricks.y * bricks.z), busy(filled.size());
#pragma omp parallel for
  for (int layer = 0; layer < bricks.z; ++layer) {
    const int end = (layer + 1) * kBrick < size.z ? (layer + 1) * kBrick : size.z;
    for (int z = layer * kBrick; z < end; ++z) {
      for (int y = 0; y < size.y; ++y) {
        for (int i = 0; i < bricks.x; ++i) {
          fill_brick(mu, size, i, y, z, filled.data());
          if (bone) fill_brick(bone, size, i, y, z, filled.data());
        }
      }
    }
  }
  std::uint8_t* to = busy.data();
  for (int z = 0; z < bricks.z; ++z) {
    for (int y = 0; y < bricks.y; ++y) {
      for (int x = 0; x < bricks.x; ++x) *to++ = filled_near(filled.data(), bricks, x, y, z);
    }
  }
  return busy;
}

template std::vector<std::uint8_t> find_busy_bricks(const float*, const float*, const Vec3<int>&);
template std::vector<std::uint8_t> find_busy_bricks(const std::int16_t*, const std::int16_t*, const Vec3<int>&);
template std::vector<std::uint8_t> find_busy_bricks(const std::uint16_t*, const std::uint16_t*, const Vec3<int>&);

}  // namespace fluoropose
