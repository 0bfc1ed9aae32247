#include "fluoropose/volume/grid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

namespace fluoropose {
namespace {

struct Box {
  int x0, y0, z0, x1, y1, z1;  // half open
  bool empty() const { return x1 <= x0; }
};

// Smallest box with every voxel that is not zero or belongs to the bone.
Box occupied_box(const float* mu, const std::uint8_t* bone, int nx, int ny, int nz) {
  Box box{nx, ny, nz, 0, 0, 0};
  for (int z = 0; z < nz; ++z) {
    for (int y = 0; y < ny; ++y) {
      const std::size_t row = (static_cast<std::size_t>(z) * ny + y) * nx;
      const auto occupied = [&](int x) { return mu[row + x] != 0.0f || (bone && bone[row + x]); };
      int first = 0;
      while (first < nx && !occupied(first)) ++first;
      if (first == nx) continue;
      int last = nx - 1;
      while (!occupied(last)) --last;
      box = {std::min(box.x0, first),    std::min(box.y0, y),     std::min(box.z0, z),
             std::max(box.x1, last + 1), std::max(box.y1, y + 1), std::max(box.z1, z + 1)};
    }
  }
  return box;
}

// The attenuation of a voxel that holds 1.
template <typename Voxel>
float unit_for(const float* mu, std::size_t count) {
  if constexpr (!std::is_same_v<Voxel, std::int16_t>) {
    return 1.0f;
  } else {
    float largest = 0.0f;
    for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(mu[i]));
    return largest > 0.0f ? largest / static_cast<float>(std::numeric_limits<Voxel>::max()) : 1.0f;
  }
}

template <typename Voxel>
Voxel stored(float mu, float unit) {
  if constexpr (std::is_same_v<Voxel, float>) return mu;
  return static_cast<Voxel>(std::lround(mu / unit));
}

// A bone voxel without attenuation stays visible to the mask, and to hardly anything else.
template <typename Voxel>
Voxel visible(Voxel mu) {
  constexpr Voxel kLeast = std::is_same_v<Voxel, float> ? 4 * std::numeric_limits<Voxel>::min() : Voxel{1};
  return std::max(mu, kLeast);
}

// In tiles, so that both sides stay cached.
template <typename Voxel>
std::vector<Voxel> reordered(const std::vector<Voxel>& values, const SliceStrides& from, const SliceStrides& to) {
  constexpr int kTile = 32;
  std::vector<Voxel> copy(values.size(), Voxel{0});
#pragma omp parallel for
  for (int b = 0; b < to.nb; ++b) {
    for (int a0 = 0; a0 < to.na; a0 += kTile) {
      for (int k = 0; k < to.nk; ++k) {
        const Voxel* source = values.data() + static_cast<std::ptrdiff_t>(b) * from.b + k * from.k;
        Voxel* row = copy.data() + static_cast<std::ptrdiff_t>(b) * to.b + static_cast<std::ptrdiff_t>(k) * to.k;
        for (int a = a0; a < std::min(a0 + kTile, to.na); ++a) row[a] = source[static_cast<std::ptrdiff_t>(a) * from.a];
      }
    }
  }
  return copy;
}

}  // namespace

template <typename Voxel>
Grid<Voxel>::Grid(const float* mu, const std::uint8_t* bone, int nx, int ny, int nz,
                  const Affine3<double>& bone_from_voxel, Crop crop) {
  Box box{0, 0, 0, nx, ny, nz};
  if (crop == Crop::kOccupied) box = occupied_box(mu, bone, nx, ny, nz);
  if (box.empty()) box = {0, 0, 0, std::min(nx, 1), std::min(ny, 1), std::min(nz, 1)};
  frame_ = grid_frame({box.x0, box.y0, box.z0}, {box.x1 - box.x0, box.y1 - box.y0, box.z1 - box.z0}, bone_from_voxel);
  const float unit = unit_for<Voxel>(mu, static_cast<std::size_t>(nx) * ny * nz);
  frame_.unit_per_mm = static_cast<double>(unit);
  const Vec3<int> sides = size();
  mu_.assign(static_cast<std::size_t>(sides.x) * sides.y * sides.z + kReadAhead, Voxel{0});
  if (bone) bone_.assign(mu_.size(), Voxel{0});
  for (int z = box.z0; z < box.z1; ++z) {
    for (int y = box.y0; y < box.y1; ++y) {
      const std::size_t from = (static_cast<std::size_t>(z) * ny + y) * nx;
      const std::size_t to = (static_cast<std::size_t>(z - box.z0 + 1) * sides.y + (y - box.y0 + 1)) * sides.x + 1;
      for (int x = box.x0; x < box.x1; ++x) {
        const Voxel voxel = stored<Voxel>(mu[from + x], unit);
        mu_[to + x - box.x0] = voxel;
        if (bone) bone_[to + x - box.x0] = bone[from + x] ? visible(voxel) : Voxel{0};
      }
    }
  }
}

template <typename Voxel>
Slices<Voxel> Grid<Voxel>::slices(int axis) const {
  return {mu_.data(), has_bone() ? bone_.data() : nullptr, slice_strides(size(), axis)};
}

template <typename Voxel>
Slices<Voxel> Grid<Voxel>::rows(int axis) const {
  if (axis != 0) return slices(axis);
  const SliceStrides from = slices(0).strides, to = row_strides(size(), 0);
  std::call_once(once_across_x_, [&] {
    mu_across_x_ = reordered(mu_, from, to);
    if (has_bone()) bone_across_x_ = reordered(bone_, from, to);
  });
  return {mu_across_x_.data(), has_bone() ? bone_across_x_.data() : nullptr, to};
}

template <typename Voxel>
Bricks Grid<Voxel>::bricks() const {
  std::call_once(once_busy_, [&] { busy_ = find_busy_bricks(mu_.data(), slices(2).bone, size()); });
  return {busy_.data(), bricks_of(size())};
}

template <typename Voxel>
const Slabs<Voxel>& Grid<Voxel>::slabs(int axis) const {
  std::call_once(once_[axis], [&] { slabs_[axis] = make_slabs(*this, axis); });
  return slabs_[axis];
}

template class Grid<float>;
template class Grid<std::int16_t>;
template Grid<Label>::Grid(const float*, const std::uint8_t*, int, int, int, const Affine3<double>&, Crop);
template Slices<Label> Grid<Label>::slices(int) const;
template Slices<Label> Grid<Label>::rows(int) const;
template Bricks Grid<Label>::bricks() const;

}  // namespace fluoropose
