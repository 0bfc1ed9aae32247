#include "fluoropose/volume/bricks.h"

#include <algorithm>

namespace fluoropose {
namespace {

// Each element becomes the largest of itself and its two neighbours along an axis.
void dilate(std::vector<std::uint8_t>& bricks, int count, int stride, int lines_of, int line_stride, int sheets,
            int sheet_stride) {
  std::vector<std::uint8_t> line(static_cast<std::size_t>(count));
  for (int s = 0; s < sheets; ++s) {
    for (int l = 0; l < lines_of; ++l) {
      std::uint8_t* first = bricks.data() + static_cast<std::ptrdiff_t>(s) * sheet_stride + l * line_stride;
      for (int i = 0; i < count; ++i) line[i] = first[i * stride];
      for (int i = 0; i < count; ++i) {
        first[i * stride] = std::max({line[i], line[std::max(i - 1, 0)], line[std::min(i + 1, count - 1)]});
      }
    }
  }
}

}  // namespace

template <typename Voxel>
std::vector<std::uint8_t> find_busy_bricks(const Voxel* values, const Vec3<int>& size) {
  const int nx = bricks_along(size.x), ny = bricks_along(size.y), nz = bricks_along(size.z);
  std::vector<std::uint8_t> busy(static_cast<std::size_t>(nx) * ny * nz);
  for (int z = 0; z < size.z; ++z) {
    for (int y = 0; y < size.y; ++y) {
      const Voxel* row = values + (static_cast<std::size_t>(z) * size.y + y) * size.x;
      std::uint8_t* to = busy.data() + (static_cast<std::size_t>(z / kBrick) * ny + y / kBrick) * nx;
      for (int x = 0; x < size.x; ++x) to[x / kBrick] |= row[x] != Voxel{0};
    }
  }
  dilate(busy, nx, 1, ny, nx, nz, nx * ny);
  dilate(busy, ny, nx, nx, 1, nz, nx * ny);
  dilate(busy, nz, nx * ny, nx, 1, ny, nx);
  return busy;
}

template std::vector<std::uint8_t> find_busy_bricks(const float*, const Vec3<int>&);
template std::vector<std::uint8_t> find_busy_bricks(const std::int16_t*, const Vec3<int>&);
template std::vector<std::uint8_t> find_busy_bricks(const std::uint16_t*, const Vec3<int>&);

}  // namespace fluoropose
