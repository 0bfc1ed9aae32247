// A grid's voxels as kernels order them, beside the CPU's copies.
#include "grid_on_device.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "cuda_runtime.h"
#include "drr_scene.h"

namespace fluoropose {
namespace {

template <typename Voxel>
void expect_same(const Voxel* found, const Voxel* expected, std::size_t count, const char* what) {
  ASSERT_EQ(found == nullptr, expected == nullptr) << what;
  for (std::size_t i = 0; found && i < count; ++i) ASSERT_EQ(found[i], expected[i]) << what << " " << i;
}

template <typename Voxel>
void expect_same(const Slices<Voxel>& found, const Slices<Voxel>& expected, const char* what) {
  const SliceStrides &s = found.strides, &t = expected.strides;
  EXPECT_TRUE(s.a == t.a && s.b == t.b && s.k == t.k && s.na == t.na && s.nb == t.nb && s.nk == t.nk) << what;
  const std::size_t count = static_cast<std::size_t>(t.na) * t.nb * t.nk;
  expect_same(found.mu, expected.mu, count, what);
  expect_same(found.bone, expected.bone, count, what);
}

template <typename Voxel>
void expect_same(const cuda::DeviceGrid<Voxel>& found, const Grid<Voxel>& expected, bool slabs) {
  for (int axis = 0; axis < 3; ++axis) {
    expect_same(found.across[axis], expected.rows(axis), "rows");
    if constexpr (!std::is_same_v<Voxel, Label>) {
      if (slabs) expect_same(found.slabs[axis], expected.slabs(axis).slices(), "slabs");
      EXPECT_EQ(found.thickness[axis], expected.slabs(axis).thickness);
    }
  }
  const Bricks bricks = expected.bricks();
  ASSERT_EQ(cuda::volume_of(found.bricks.size), cuda::volume_of(bricks.size));
  expect_same(found.bricks.busy, bricks.busy, cuda::volume_of(bricks.size), "bricks");
}

// A volume of several tiles along x and y, of which a corner and a part of the bone are full.
struct Corner {
  static constexpr int kX = 41, kY = 37, kZ = 18;
  std::vector<float> mu = std::vector<float>(kX * kY * kZ);
  std::vector<std::uint8_t> bone = std::vector<std::uint8_t>(mu.size());

  explicit Corner(bool whole_numbers = false) {
    std::mt19937 random(3);
    for (int z = 0; z < 5; ++z) {
      for (int y = 0; y < 9; ++y) {
        for (int x = 0; x < 7; ++x) {
          mu[static_cast<std::size_t>((z * kY + y) * kX + x)] =
              whole_numbers ? static_cast<float>(random() % 9) : static_cast<float>(random() % 1000) * 1e-4f;
        }
      }
    }
    bone[static_cast<std::size_t>((9 * kY + 30) * kX + 33)] = 1;  // attenuates nothing
    bone[4] = 1;
  }

  template <typename Voxel>
  Grid<Voxel> grid(bool with_bone, Crop crop = Crop::kOccupied) const {
    return {mu.data(), with_bone ? bone.data() : nullptr, kX, kY, kZ, kBoneFromVoxel, crop};
  }
};

template <typename Voxel>
class GridsOnDevice : public testing::Test {};
using Voxels = testing::Types<float, std::int16_t>;
TYPED_TEST_SUITE(GridsOnDevice, Voxels);

TYPED_TEST(GridsOnDevice, AreOrderedAsOnTheCpu) {
  const Corner corner;
  for (const bool bone : {false, true}) {
    for (const bool slabs : {false, true}) {
      const Grid<TypeParam> grid = corner.grid<TypeParam>(bone);
      const cuda::GridOnDevice<TypeParam> found(grid, slabs, nullptr);
      expect_same(found.seen(), grid, slabs);
    }
  }
}

TEST(GridOnDevice, OrdersLabels) {
  const Grid<Label> grid = Corner(true).grid<Label>(false);
  const cuda::GridOnDevice<Label> found(grid, false, nullptr);
  expect_same(found.seen(), grid, false);
}

TEST(GridOnDevice, TakesTheVoxelsFromTheDevice) {
  const Corner corner;
  const Grid<float> grid = corner.grid<float>(false, Crop::kWhole);
  int busy = 0;
  const Bricks bricks = grid.bricks();
  for (std::size_t i = 0; i < cuda::volume_of(bricks.size); ++i) busy += bricks.busy[i];
  EXPECT_EQ(busy, 2 * 3 * 2);  // of 6 x 5 x 3: those around the corner, and air
  const cuda::GridOnDevice<float> found(corner.mu.data(), grid.frame(), true, cuda::own_memory, nullptr);
  expect_same(found.seen(), grid, true);
}

TEST(GridOnDevice, OfOneVoxelHasARim) {
  const float mu = 0.5f;
  const Grid<float> grid(&mu, nullptr, 1, 1, 1, kBoneFromVoxel, Crop::kWhole);
  const cuda::GridOnDevice<float> found(&mu, grid.frame(), true, cuda::own_memory, nullptr);
  expect_same(found.seen(), grid, true);
  EXPECT_EQ(found.seen().across[2].mu[13], 0.5f);
}

}  // namespace
}  // namespace fluoropose
