#include "fluoropose/volume/slabs.h"

#include <cstdint>

#include "fluoropose/volume/grid.h"

namespace fluoropose {
namespace {

// Slice 0 and the last are rim.
template <typename Voxel>
std::vector<Voxel> gather(const Voxel* from, const SliceStrides& s, const SliceStrides& to, int thickness) {
  std::vector<Voxel> slabs(static_cast<std::size_t>(to.k) * to.nk + kReadAhead, Voxel{0});
#pragma omp parallel for
  for (int m = 1; m < to.nk - 1; ++m) {
    const auto [first, second] = slices_of(m, thickness, s.nk);
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

template <typename Voxel>
Slabs<Voxel> make_slabs(const Grid<Voxel>& grid, int axis) {
  const Slices<Voxel> whole = grid.slices(axis);
  const SliceStrides& s = whole.strides;
  Slabs<Voxel> slabs{};
  static_cast<SlabFrame&>(slabs) = grid.frame().slabs[axis];
  slabs.strides = row_strides(slabs.size, axis);
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
      for (int a = 0; a < grid.na; ++a) to[static_cast<std::ptrdiff_t>(a) * grid.a] += share * row[a];
    }
  }
}

template Slabs<float> make_slabs(const Grid<float>&, int);
template Slabs<std::int16_t> make_slabs(const Grid<std::int16_t>&, int);

}  // namespace fluoropose
