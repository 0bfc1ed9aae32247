// Gradient correlation and Levenberg-Marquardt's method on radiographs of a lopsided blob.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "fluoropose/refinement/attenuation.h"
#include "refinement_scene.h"

namespace fluoropose {
namespace {

TEST(Refinement, LeadsBackToTheTruth) {
  const Renderer renderer = blobs(Device::kCpu);
  const Comparisons same(renderer, {&renderer}, {1.0});
  for (std::size_t i = 0; i < same.views.size(); ++i) {
    std::vector<float> image(kPixels * kPixels);
    renderer.render(same.views[i].view, kTruth, {image.data(), nullptr, nullptr});
    EXPECT_NEAR(same.similarities[i].value(image.data()), 1.0, 1e-6);
  }
  const auto found = climb(same.views, {off(0.06, {2, -1, 1.5}), kTruth}, kSettings);
  for (const auto& one : found) {
    EXPECT_TRUE(one.converged);
    EXPECT_GT(one.step.value, 0.9999);
    // Measured: 0.003 mm and 0.0001.
    EXPECT_LT(norm(one.world_from_bone.offset - kTruth.offset), 0.02);
    EXPECT_NEAR(one.world_from_bone.row0.y, 0.0, 1e-3);
    ASSERT_EQ(one.by_view.size(), 2u);
    EXPECT_NEAR((one.by_view[0] + one.by_view[1]) / 2, one.step.value, 1e-12);
  }
  EXPECT_LT(found[0].at_start, 0.99);
  EXPECT_NEAR(found[1].at_start, 1.0, 1e-6);
  EXPECT_GT(found[0].tried, 2);
}

// Against a rotation by a quarter about a slanted axis, and a solution that is known.
TEST(Refinement, MovesAndSolves) {
  const double quarter = std::acos(-1.0) / 2, share = quarter / std::sqrt(2.0), h = std::sqrt(0.5);
  const Affine3<double> turned = moved(off(0.3, {1, 2, 3}), {{share, share, 0}, {0.5, 0, -1}});
  const double c = std::cos(0.3), s = std::sin(0.3);
  const Vec3<double> expected[3] = {{0.5 * c + 0.5 * s, -0.5 * s + 0.5 * c, h},
                                    {0.5 * c + 0.5 * s, -0.5 * s + 0.5 * c, -h},
                                    {-h * c + h * s, h * s + h * c, 0}};
  EXPECT_LT(norm(turned.row0 - expected[0]) + norm(turned.row1 - expected[1]) + norm(turned.row2 - expected[2]), 1e-14);
  EXPECT_LT(norm(turned.offset - (kTruth.offset + Vec3<double>{1.5, 2, 2})), 1e-14);
  // The first pivots are zero.
  double a[6][6] = {}, b[6];
  const double x[6] = {1, -2, 3, 0.5, 4, -1};
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < 6; ++j) a[i][j] = i == j ? 0.0 : 1.0 + 0.1 * i * j - 0.3 * (i > j);
  }
  for (int i = 0; i < 6; ++i) {
    b[i] = 0;
    for (int j = 0; j < 6; ++j) b[i] += a[i][j] * x[j];
  }
  solve6(a, b);
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(b[i], x[i], 1e-13);
}

TEST(Refinement, ATonesSlopeIsItsDerivative) {
  for (const float veil : {0.1f, 3.0f}) {
    std::vector<float> line(200), attenuation(line.size()), slope(line.size());
    for (std::size_t i = 0; i < line.size(); ++i) line[i] = 0.05f * static_cast<float>(i);
    show(line.data(), static_cast<int>(line.size()), veil, attenuation.data(), slope.data());
    EXPECT_EQ(attenuation[0], 0.0f);
    for (std::size_t i = 0; i < line.size(); ++i) {
      const auto shown = [&](double x) { return -std::log((std::exp(-x) + veil) / (1.0 + veil)); };
      EXPECT_NEAR(attenuation[i], shown(line[i]), 2e-6);
      EXPECT_NEAR(slope[i], (shown(line[i] + 1e-4) - shown(line[i] - 1e-4)) / 2e-4, 2e-6);
    }
  }
}

TEST(Refinement, AttenuationIsTheMeanLogarithm) {
  constexpr int kRows = 3, kColumns = 5, kBlock = 11, kStride = kColumns * kBlock + 2;
  std::vector<std::uint16_t> stored(static_cast<std::size_t>(kRows * kBlock * kStride - 2));
  for (std::size_t i = 0; i < stored.size(); ++i) stored[i] = static_cast<std::uint16_t>(i * 7919);
  std::vector<float> means(kRows * kColumns);
  mean_attenuation(stored.data(), kStride, kRows, kColumns, kBlock, {1.3f, -1.0f / 40000.0f, 0.3f}, means.data());
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      double sum = 0;
      for (int v = 0; v < kBlock; ++v) {
        for (int u = 0; u < kBlock; ++u) {
          const int at = (row * kBlock + v) * kStride + column * kBlock + u;
          sum -= std::log(std::max(0.3, 1.3 - stored[static_cast<std::size_t>(at)] / 40000.0));
        }
      }
      EXPECT_NEAR(means[static_cast<std::size_t>(row * kColumns + column)], sum / (kBlock * kBlock), 2e-6);
    }
  }
}

TEST(Refinement, AFlatImageIsLikeNothing) {
  std::vector<float> image(kPixels * kPixels), flat(image.size(), 2.0f), weights(image.size());
  for (std::size_t i = 0; i < image.size(); ++i) image[i] = std::sin(0.3f * static_cast<float>(i % kPixels));
  for (int v = 8; v < 40; ++v) {
    for (int u = 8; u < 40; ++u) weights[static_cast<std::size_t>(v * kPixels + u)] = 1.0f;
  }
  const GradientCorrelation similarity(image.data(), weights.data(), kPixels, kPixels, kSmooth, kSlope, 0);
  EXPECT_TRUE(std::isnan(similarity.value(flat.data())));
}

}  // namespace
}  // namespace fluoropose
