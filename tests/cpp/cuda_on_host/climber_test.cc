// Levenberg and Marquardt's method by the CUDA sources, run by the host, beside that of the CPU.
#include "fluoropose/refinement/cuda_climber.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "cuda_runtime.h"
#include "refinement_scene.h"

namespace fluoropose {
namespace {

const std::vector<Affine3<double>> kStarts = {off(0.06, {2, -1, 1.5}), kTruth};

double apart(const Affine3<double>& one, const Affine3<double>& other) {
  return norm(one.row0 - other.row0) + norm(one.row1 - other.row1) + norm(one.row2 - other.row2);
}

void expect_same(const std::vector<LevenbergResult>& found, const std::vector<LevenbergResult>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t n = 0; n < found.size(); ++n) {
    // Measured: up to 3e-6 mm, 3e-7 and, of the values, 6e-8.
    EXPECT_LT(norm(found[n].world_from_bone.offset - expected[n].world_from_bone.offset), 2e-5);
    EXPECT_LT(apart(found[n].world_from_bone, expected[n].world_from_bone), 5e-6);
    EXPECT_NEAR(found[n].step.value, expected[n].step.value, 1e-6);
    EXPECT_NEAR(found[n].at_start, expected[n].at_start, 1e-6);
    EXPECT_EQ(found[n].converged, expected[n].converged);
    EXPECT_EQ(found[n].tried, expected[n].tried);
    for (int i = 0; i < 6; ++i) {
      for (int j = 0; j < 6; ++j) {
        const double scale = std::sqrt(expected[n].step.jtj[i][i] * expected[n].step.jtj[j][j]);
        EXPECT_NEAR(found[n].step.jtj[i][j], expected[n].step.jtj[i][j], 1e-4 * scale);
      }
    }
  }
}

class CudaClimbs : public testing::Test {
 protected:
  // Of two resolutions, of which the coarser one fits.
  const Renderer fine = blobs(Device::kCpu), coarse = blobs(Device::kCpu, 2);
  const Renderer fine_there = blobs(Device::kCuda), coarse_there = blobs(Device::kCuda, 2);
  const CudaClimber climber{0};
};

TEST_F(CudaClimbs, AreTheCpuS) {
  const Comparisons here(fine, {&fine}, {1.0}), there(fine, {&fine_there}, {1.0});
  expect_same(climber.climb(there.views, kStarts, kSettings), climb(here.views, kStarts, kSettings));
}

TEST_F(CudaClimbs, AreTheCpuSInTilesThroughAVeil) {
  const Comparisons here(fine, {&fine}, {1.0}, 0.3f, 20), there(fine, {&fine_there}, {1.0}, 0.3f, 20);
  expect_same(climber.climb(there.views, kStarts, kSettings), climb(here.views, kStarts, kSettings));
}

TEST_F(CudaClimbs, AreTheCpuSInViewsOfSeveralSizes) {
  const Comparisons here(fine, {&fine}, {1.0}, 0.0f, 20, 11), there(fine, {&fine_there}, {1.0}, 0.0f, 20, 11);
  expect_same(climber.climb(there.views, kStarts, kSettings), climb(here.views, kStarts, kSettings));
}

TEST_F(CudaClimbs, RenderFromTheFittingVolume) {
  const std::vector<double> spacings{0.3, 0.7};
  const Comparisons here(fine, {&fine, &coarse}, spacings), there(fine, {&fine_there, &coarse_there}, spacings);
  ASSERT_EQ(here.views[0].fitting(kTruth), 1u);
  expect_same(climber.climb(there.views, kStarts, kSettings), climb(here.views, kStarts, kSettings));
}

TEST_F(CudaClimbs, EndWhereNothingShows) {
  const Comparisons there(fine, {&fine_there}, {1.0});
  const auto found = climber.climb(there.views, {off(0.0, {500, 0, 0}), kStarts[0]}, kSettings);
  EXPECT_TRUE(std::isnan(found[0].step.value));
  EXPECT_EQ(found[0].tried, 0);
  EXPECT_EQ(found[0].world_from_bone.offset.x, kTruth.offset.x + 500);
  EXPECT_TRUE(found[1].converged);
}

TEST_F(CudaClimbs, AreTheSameTwiceWithoutAllocatingAgain) {
  const Comparisons there(fine, {&fine_there}, {1.0});
  const auto first = climber.climb(there.views, kStarts, kSettings);
  const auto before = cuda_on_host::counts;
  const auto second = climber.climb(there.views, kStarts, kSettings);
  EXPECT_EQ(cuda_on_host::counts.allocations, before.allocations);
  int most = 0;
  for (std::size_t n = 0; n < first.size(); ++n) {
    EXPECT_EQ(std::memcmp(&first[n].step, &second[n].step, sizeof(NormalStep)), 0);
    EXPECT_EQ(apart(first[n].world_from_bone, second[n].world_from_bone), 0);
    most = std::max(most, first[n].tried);
  }
  // Four looks between the host's, five kernels a look.
  const int groups = (most + 1 + 3) / 4;
  EXPECT_EQ(cuda_on_host::counts.waits - before.waits, groups);
  EXPECT_EQ(cuda_on_host::counts.launches - before.launches, 20 * groups);
}

TEST_F(CudaClimbs, NameWhatTheyCannotDo) {
  const Comparisons here(fine, {&fine}, {1.0}), there(fine, {&fine_there}, {1.0});
  EXPECT_THROW(climber.climb({}, kStarts, kSettings), std::invalid_argument);
  EXPECT_THROW(climber.climb(here.views, kStarts, kSettings), std::invalid_argument);
  Affine3<double> stretched = kTruth;
  stretched.row0.x = 1.1;
  EXPECT_THROW(climber.climb(there.views, {stretched}, kSettings), std::invalid_argument);
  EXPECT_THROW(CudaClimber(7), std::runtime_error);
  EXPECT_TRUE(climber.climb(there.views, {}, kSettings).empty());
}

}  // namespace
}  // namespace fluoropose
