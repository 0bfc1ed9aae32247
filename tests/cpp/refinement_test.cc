// Gradient correlation and Levenberg-Marquardt's method on radiographs of a lopsided blob.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "fluoropose/refinement/levenberg.h"
#include "fluoropose/refinement/tone.h"

namespace fluoropose {
namespace {

constexpr int kSide = 48, kPixels = 64;
const std::vector<float> kSmooth{0.25f, 0.5f, 0.25f}, kSlope{-0.5f, 0.0f, 0.5f};
const Affine3<double> kTruth{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, -2, -300}};

std::vector<float> blobs() {
  std::vector<float> mu;
  const double centres[4][3] = {{24, 24, 24}, {33, 22, 20}, {20, 34, 28}, {26, 18, 34}};
  for (int z = 0; z < kSide; ++z) {
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        double value = 0;
        for (const auto& c : centres) {
          value += std::exp(-((x - c[0]) * (x - c[0]) + (y - c[1]) * (y - c[1]) + (z - c[2]) * (z - c[2])) / 20);
        }
        mu.push_back(static_cast<float>(0.03 * value));
      }
    }
  }
  return mu;
}

View view_along(const Vec3<double>& u, const Vec3<double>& ray) {
  const Vec3<double> centre = kTruth.offset + ray * 300, v{0, 1, 0};
  return {kPixels, kPixels, centre + (u + v) * (-0.5 * (kPixels - 1)), u, v, centre - ray * 1000, Beam::kPoint};
}

TEST(Refinement, LeadsBackToTheTruth) {
  const std::vector<float> mu = blobs();
  const double middle = -0.5 * (kSide - 1);
  const Renderer renderer(mu.data(), nullptr, kSide, kSide, kSide,
                          {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {middle, middle, middle}}, Method::kShearWarp,
                          Device::kCpu);
  std::vector<GradientCorrelation> similarities;
  std::vector<ComparedView> views;
  const std::vector<float> weights(kPixels * kPixels, 1.0f);
  for (const View& view : {view_along({1, 0, 0}, {0, 0, 1}), view_along({0, 0, -1}, {1, 0, 0})}) {
    std::vector<float> image(weights.size());
    renderer.render(view, kTruth, {image.data(), nullptr, nullptr});
    similarities.emplace_back(image.data(), weights.data(), kPixels, kPixels, kSmooth, kSlope, 0);
    EXPECT_NEAR(similarities.back().value(image.data()), 1.0, 1e-6);
    views.push_back({view, nullptr, 0.0f, {&renderer}, {1.0}});
  }
  for (std::size_t i = 0; i < views.size(); ++i) views[i].similarity = &similarities[i];
  const double c = std::cos(0.06), s = std::sin(0.06);
  const Affine3<double> start{{c, -s, 0}, {s, c, 0}, {0, 0, 1}, kTruth.offset + Vec3<double>{2, -1, 1.5}};
  const LevenbergSettings settings{30, 0.005, 1e-3, 5.0, 10.0, 0.7};
  const auto found = climb(views, {start, kTruth}, settings);
  for (const auto& one : found) {
    EXPECT_TRUE(one.converged);
    EXPECT_GT(one.step.value, 0.9999);
    // Measured: 0.003 mm and 0.0001.
    EXPECT_LT(norm(one.world_from_bone.offset - kTruth.offset), 0.02);
    EXPECT_NEAR(one.world_from_bone.row0.y, 0.0, 1e-3);
  }
  EXPECT_GT(found[0].tried, 2);
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
