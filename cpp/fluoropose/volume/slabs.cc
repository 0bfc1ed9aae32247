#include "fluoropose/volume/slabs.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "fluoropose/volume/grid.h"

namespace fluoropose {
namespace {

constexpr int kFewest = 16;         // slices that are worth pairing
constexpr double kThickest = 1.25;  // of the shorter side of a voxel within the slice

int thickness_for(const Affine3<double>& voxel_from_bone, int axis, int slices) {
  const double per_mm[3] = {norm(voxel_from_bone.row0), norm(voxel_from_bone.row1), norm(voxel_from_bone.row2)};
  const double finest = std::max(per_mm[(axis + 1) % 3], per_mm[(axis + 2) % 3]);
  return slices >= kFewest && finest <= kThickest * per_mm[axis] ? 2 : 1;
}

template <typename Voxel>
Voxel mean(Voxel first, Voxel second) {
  if constexpr (std::is_same_v<Voxel, float>) return 0.5f * (first + second);
  // Halves go to the even number, so that there is no drift; but what is not zero stays so.
  const int sum = static_cast<int>(first) + static_cast<int>(second), half = sum >> 1;
  return static_cast<Voxel>(sum == 1 ? 1 : half + (sum & half & 1));
}

// Slice 0 and the last are rim.
template <typename Voxel>
std::vector<Voxel> gather(const Voxel* from, const SliceStrides& s, const SliceStrides& to, int thickness) {
  std::vector<Voxel> slabs(static_cast<std::size_t>(to.k) * to.nk + kReadAhead, Voxel{0});
#pragma omp parallel for
  for (int m = 1; m < to.nk - 1; ++m) {
    const int first = (m - 1) * thickness + 1, second = std::min(first + thickness - 1, s.nk - 1);
    for (int b = 0; b < s.nb; ++b) {
      const Voxel* low = from + static_cast<std::ptrdiff_t>(first) * s.k + static_cast<std::ptrdiff_t>(b) * s.b;
      const Voxel* high = from + static_cast<std::ptrdiff_t>(second) * s.k + static_cast<std::ptrdiff_t>(b) * s.b;
      Voxel* row = slabs.data() + static_cast<std::ptrdiff_t>(m) * to.k + static_cast<std::ptrdiff_t>(b) * to.b;
      for (int a = 0; a < s.na; ++a) {
        const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(a) * s.a;
        row[a] = thickness == 1 ? low[at] : mean(low[at], high[at]);
      }
    }
  }
  return slabs;
}

template <typename Voxel>
std::vector<Extent> extents_of(const std::vector<Voxel>& values, int row_length) {
  if (values.empty()) return {};
  std::vector<Extent> extents((values.size() - kReadAhead) / row_length);
  for (std::size_t r = 0; r < extents.size(); ++r) {
    const Voxel* row = values.data() + r * row_length;
    Extent e{0, row_length};
    while (e.last > 0 && row[e.last - 1] == Voxel{0}) --e.last;
    while (e.first < e.last && row[e.first] == Voxel{0}) ++e.first;
    extents[r] = e.last > e.first ? e : Extent{0, 0};
  }
  return extents;
}

}  // namespace

SlabFrame slab_frame(const Vec3<int>& size, const Affine3<double>& voxel_from_bone, int axis) {
  const int slices = component(size, axis) - 2;
  SlabFrame frame{size, voxel_from_bone, thickness_for(voxel_from_bone, axis, slices)};
  int* const sides[3] = {&frame.size.x, &frame.size.y, &frame.size.z};
  *sides[axis] = (slices + frame.thickness - 1) / frame.thickness + 2;
  // A slab stands in the middle of its slices: slice k is at (k - 1/2) / t + 1/2 slabs.
  Affine3<double>& map = frame.voxel_from_bone;
  Vec3<double>* const rows[3] = {&map.row0, &map.row1, &map.row2};
  double* const offsets[3] = {&map.offset.x, &map.offset.y, &map.offset.z};
  *rows[axis] = *rows[axis] * (1.0 / frame.thickness);
  *offsets[axis] = (*offsets[axis] - 0.5) / frame.thickness + 0.5;
  return frame;
}

template <typename Voxel>
Slabs<Voxel> make_slabs(const Grid<Voxel>& grid, int axis) {
  const Slices<Voxel> whole = grid.slices(axis);
  const SliceStrides& s = whole.strides;
  Slabs<Voxel> slabs{};
  static_cast<SlabFrame&>(slabs) = slab_frame(grid.size(), grid.voxel_from_bone(), axis);
  slabs.strides = {1, s.na, s.na * s.nb, s.na, s.nb, component(slabs.size, axis)};
  slabs.mu = gather(whole.mu, s, slabs.strides, slabs.thickness);
  if (whole.bone) slabs.bone = gather(whole.bone, s, slabs.strides, slabs.thickness);
  slabs.mu_extents = extents_of(slabs.mu, s.na);
  slabs.bone_extents = extents_of(slabs.bone, s.na);
  return slabs;
}

void spread(const Slabs<float>& slabs, const float* by_slab, const SliceStrides& grid, float* by_voxel) {
  const float share = 1.0f / static_cast<float>(slabs.thickness);
#pragma omp parallel for
  for (int k = 1; k < grid.nk - 1; ++k) {
    const int m = slab_of(k, slabs.thickness);
    for (int b = 0; b < grid.nb; ++b) {
      const float* row =
          by_slab + static_cast<std::ptrdiff_t>(m) * slabs.strides.k + static_cast<std::ptrdiff_t>(b) * slabs.strides.b;
      float* to = by_voxel + static_cast<std::ptrdiff_t>(k) * grid.k + static_cast<std::ptrdiff_t>(b) * grid.b;
      for (int a = 0; a < grid.na; ++a) to[static_cast<std::ptrdiff_t>(a) * grid.a] = share * row[a];
    }
  }
}

template Slabs<float> make_slabs(const Grid<float>&, int);
template Slabs<std::int16_t> make_slabs(const Grid<std::int16_t>&, int);

}  // namespace fluoropose
