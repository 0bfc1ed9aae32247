#include "fluoropose/volume/grid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
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

Affine3<double> inverse(const Affine3<double>& m) {
  const Vec3<double> c0 = cross(m.row1, m.row2), c1 = cross(m.row2, m.row0), c2 = cross(m.row0, m.row1);
  const double determinant = dot(m.row0, c0);
  const double scale = norm(m.row0) * norm(m.row1) * norm(m.row2);
  if (!(std::abs(determinant) > 1e-12 * scale) || !std::isfinite(scale)) {
    throw std::invalid_argument("bone_from_voxel: expected an invertible map");
  }
  const double s = 1.0 / determinant;
  Affine3<double> inv{
      {c0.x * s, c1.x * s, c2.x * s}, {c0.y * s, c1.y * s, c2.y * s}, {c0.z * s, c1.z * s, c2.z * s}, {}};
  inv.offset = inv.linear(m.offset) * -1.0;
  return inv;
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

template <typename Voxel>
std::vector<Voxel> joined(const std::vector<Voxel>& mu, const std::vector<Voxel>& bone) {
  std::vector<Voxel> either(mu);
  for (std::size_t i = 0; i < either.size(); ++i) {
    if (either[i] == Voxel{0}) either[i] = bone[i];
  }
  return either;
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
                  const Affine3<double>& bone_from_voxel, Crop crop)
    : has_bone_(bone != nullptr), voxel_from_bone_(inverse(bone_from_voxel)) {
  if (nx < 1 || ny < 1 || nz < 1) throw std::invalid_argument("mu: every side must hold at least one voxel");
  Box box{0, 0, 0, nx, ny, nz};
  if (crop == Crop::kOccupied) box = occupied_box(mu, bone, nx, ny, nz);
  if (box.empty()) box = {0, 0, 0, 1, 1, 1};
  const auto rimmed = [](int first, int end) { return end - first + 2; };
  nx_ = rimmed(box.x0, box.x1), ny_ = rimmed(box.y0, box.y1), nz_ = rimmed(box.z0, box.z1);
  const std::size_t count = static_cast<std::size_t>(nx_) * ny_ * nz_;
  if (count > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max() - kReadAhead)) {
    throw std::invalid_argument("mu: more than 2^31 voxels; crop or resample the volume");
  }
  voxel_from_bone_.offset = voxel_from_bone_.offset + Vec3<double>{1.0 - box.x0, 1.0 - box.y0, 1.0 - box.z0};
  unit_ = unit_for<Voxel>(mu, static_cast<std::size_t>(nx) * ny * nz);
  mu_.assign(count + kReadAhead, Voxel{0});
  if (bone) bone_.assign(count + kReadAhead, Voxel{0});
  for (int z = box.z0; z < box.z1; ++z) {
    for (int y = box.y0; y < box.y1; ++y) {
      const std::size_t from = (static_cast<std::size_t>(z) * ny + y) * nx;
      const std::size_t to = (static_cast<std::size_t>(z - box.z0 + 1) * ny_ + (y - box.y0 + 1)) * nx_ + 1;
      for (int x = box.x0; x < box.x1; ++x) {
        const Voxel voxel = stored<Voxel>(mu[from + x], unit_);
        mu_[to + x - box.x0] = voxel;
        if (bone) bone_[to + x - box.x0] = bone[from + x] ? visible(voxel) : Voxel{0};
      }
    }
  }
  // What is bone but does not attenuate is not zero either.
  busy_ = find_busy_bricks(bone ? joined(mu_, bone_).data() : mu_.data(), size());
}

template <typename Voxel>
Slices<Voxel> Grid<Voxel>::slices(int axis) const {
  return {mu_.data(), has_bone_ ? bone_.data() : nullptr, slice_strides(size(), axis)};
}

template <typename Voxel>
Slices<Voxel> Grid<Voxel>::rows(int axis) const {
  if (axis != 0) return slices(axis);
  const SliceStrides from = slices(0).strides, to{1, ny_, ny_ * nz_, ny_, nz_, nx_};
  std::call_once(once_across_x_, [&] {
    mu_across_x_ = reordered(mu_, from, to);
    if (has_bone_) bone_across_x_ = reordered(bone_, from, to);
  });
  return {mu_across_x_.data(), has_bone_ ? bone_across_x_.data() : nullptr, to};
}

template <typename Voxel>
const Slabs<Voxel>& Grid<Voxel>::slabs(int axis) const {
  std::call_once(once_[axis], [&] { slabs_[axis] = make_slabs(*this, axis); });
  return slabs_[axis];
}

template <typename Voxel>
GridFrame Grid<Voxel>::frame() const {
  GridFrame frame{size(), voxel_from_bone_, unit_, {}};
  for (int axis = 0; axis < 3; ++axis) frame.slabs[axis] = slab_frame(size(), voxel_from_bone_, axis);
  return frame;
}

template class Grid<float>;
template class Grid<std::int16_t>;
template Grid<Label>::Grid(const float*, const std::uint8_t*, int, int, int, const Affine3<double>&, Crop);
template Slices<Label> Grid<Label>::slices(int) const;
template Slices<Label> Grid<Label>::rows(int) const;
template GridFrame Grid<Label>::frame() const;

}  // namespace fluoropose
