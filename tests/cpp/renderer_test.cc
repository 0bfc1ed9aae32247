#include "fluoropose/drr/renderer.h"

#include <gtest/gtest.h>

#include <Eigen/Geometry>
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "fluoropose/drr/jacobian_sinks.h"

namespace fluoropose {
namespace {

constexpr int kNx = 12, kNy = 20, kNz = 16;
constexpr float kMu = 0.02F;
const Affine3<double> kVoxels{{1.5, 0, 0}, {0, 1, 0}, {0, 0, 2}, {-8.25, -9.5, -15}};  // centred on the bone's origin
const Affine3<double> kAhead{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0, 0, -500}};

struct Image {
  std::vector<float> line_integral, bone_line_integral;
  std::vector<std::uint8_t> mask;
};

Renderer block(Method method) {
  const std::vector<float> mu(kNx * kNy * kNz, kMu);
  std::vector<std::uint8_t> bone(mu.size(), 0);
  std::fill(bone.begin() + bone.size() / 2, bone.end(), 1);  // the upper half of the slices
  return {mu.data(), bone.data(), kNx, kNy, kNz, kVoxels, method, Device::kCpu};
}

View facing(Beam beam) {
  return {65, 65, {-32, -32, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, beam == Beam::kPoint ? -1000.0 : 1.0}, beam};
}

Image render(const Renderer& renderer, const View& view, const Affine3<double>& pose) {
  const auto size = static_cast<std::size_t>(view.width * view.height);
  Image image{std::vector<float>(size), std::vector<float>(size), std::vector<std::uint8_t>(size)};
  renderer.render(view, pose, {image.line_integral.data(), image.bone_line_integral.data(), image.mask.data()});
  return image;
}

class RendererMethods : public testing::TestWithParam<Method> {};
INSTANTIATE_TEST_SUITE_P(Both, RendererMethods, testing::Values(Method::kRayCast, Method::kShearWarp),
                         [](const auto& method) { return method.param == Method::kRayCast ? "RayCast" : "ShearWarp"; });

TEST_P(RendererMethods, IntegratesAlongTheRayThroughTheMiddle) {
  const Renderer renderer = block(GetParam());
  for (const Beam beam : {Beam::kPoint, Beam::kParallel}) {
    const Image image = render(renderer, facing(beam), kAhead);
    const std::size_t middle = 32 * 65 + 32;
    EXPECT_NEAR(image.line_integral[middle], kMu * kNz * 2, 1e-5);
    EXPECT_NEAR(image.bone_line_integral[middle], kMu * kNz, 1e-5);
    EXPECT_EQ(image.mask[middle], 1);
    EXPECT_EQ(image.line_integral[0], 0);
    EXPECT_EQ(image.mask[0], 0);
  }
}

TEST_P(RendererMethods, KeepsTheTotalAttenuationOfAParallelBeam) {
  const Image image = render(block(GetParam()), facing(Beam::kParallel), kAhead);
  double total = 0;
  for (const float value : image.line_integral) total += value;
  // Pixels of 1 mm^2: the sum is the volume integral. Sampling a grid of 1.5 x 1 mm at 1 mm leaves 1 %.
  EXPECT_NEAR(total, kMu * kNx * kNy * kNz * 1.5 * 1 * 2, 0.01 * total);
}

TEST_P(RendererMethods, StaysFiniteFromEverySideEvenInsideTheVolume) {
  const Renderer renderer = block(GetParam());
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  const double longest = kMu * std::hypot(kNx * 1.5 + 3, kNy + 2, kNz * 2 + 4);
  // Shear-warp ends with a cubic interpolation, which overshoots a step (here the end of the bone) by up to 7 % of it.
  const double excess = GetParam() == Method::kRayCast ? 1e-5 : 0.07 * longest;
  for (int i = 0; i < 60; ++i) {
    const Eigen::Matrix3d r =
        Eigen::Quaterniond(normal(random), normal(random), normal(random), normal(random)).normalized().matrix();
    const double depth = i % 3 == 0 ? -1000 : i % 3 == 1 ? -990 : -500;  // round the source, just before it, half-way
    const Affine3<double> pose{{r(0, 0), r(0, 1), r(0, 2)},
                               {r(1, 0), r(1, 1), r(1, 2)},
                               {r(2, 0), r(2, 1), r(2, 2)},
                               {3 * normal(random), 3 * normal(random), depth}};
    const Image image = render(renderer, facing(i % 2 == 0 ? Beam::kPoint : Beam::kParallel), pose);
    for (std::size_t k = 0; k < image.mask.size(); ++k) {
      ASSERT_TRUE(image.line_integral[k] >= -1e-6F && image.line_integral[k] <= longest) << image.line_integral[k];
      ASSERT_LE(image.bone_line_integral[k], image.line_integral[k] + excess);
    }
  }
}

TEST_P(RendererMethods, GivesTheSameImageToEveryThread) {
  const Renderer renderer = block(GetParam());
  const Affine3<double> sideways{{0, 0, 1}, {0, 1, 0}, {-1, 0, 0}, {0, 0, -500}};  // needs the second order of voxels
  const View view = facing(Beam::kPoint);
  std::vector<Image> images(4);
  {
    std::vector<std::jthread> threads;
    for (Image& image : images) threads.emplace_back([&] { image = render(renderer, view, sideways); });
  }
  for (const Image& image : images) EXPECT_EQ(image.line_integral, images[0].line_integral);
  EXPECT_GT(*std::max_element(images[0].line_integral.begin(), images[0].line_integral.end()), 0);
}

bool any_nan(const std::vector<float>& values) {
  return std::any_of(values.begin(), values.end(), [](float value) { return std::isnan(value); });
}

bool all_zero(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return value == 0; });
}

Renderer whole(Method method, const std::vector<float>& mu) {
  return {mu.data(), nullptr, kNx, kNy, kNz, kVoxels, method, Device::kCpu, Storage::kFloat32, Crop::kWhole};
}

std::vector<float> voxel_gradient(const Renderer& renderer, const View& view, const std::vector<float>& by_pixel) {
  std::vector<float> gradient(kNx * kNy * kNz);
  renderer.volume_gradient({1, &view, &kAhead, nullptr}, by_pixel.data(), gradient.data());
  return gradient;
}

// A cost that is lost at one pixel, across the edge between air and tissue.
TEST_P(RendererMethods, LoseNoNaNOnTheWayToTheVoxels) {
  std::vector<float> mu(kNx * kNy * kNz);
  for (std::size_t i = 0; i < mu.size(); ++i) mu[i] = i % kNx < kNx / 2 ? 0 : kMu;
  const Renderer renderer = whole(GetParam(), mu);
  const View view = facing(Beam::kParallel);
  std::vector<float> line(65 * 65);
  renderer.render(view, kAhead, {line.data(), nullptr, nullptr});
  int air = 0, cut = 0;
  for (std::size_t pixel = 32 * 65 + 25; pixel < 32 * 65 + 40; ++pixel) {
    std::vector<float> by_pixel(line.size());
    by_pixel[pixel] = 1;
    const bool nothing = all_zero(voxel_gradient(renderer, view, by_pixel));
    air += line[pixel] == 0 && !nothing, cut += nothing;
    by_pixel[pixel] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(any_nan(voxel_gradient(renderer, view, by_pixel))) << pixel;
  }
  EXPECT_GT(air, 3);
  EXPECT_EQ(cut > 0, GetParam() == Method::kShearWarp);
}

TEST_P(RendererMethods, HaveTheGradientOfTissueInAirAsWell) {
  const std::vector<float> air(kNx * kNy * kNz), tissue(air.size(), kMu);
  const View view = facing(Beam::kPoint);
  std::vector<float> by_pixel(65 * 65);
  for (int v = 28; v < 36; ++v) {
    for (int u = 28; u < 36; ++u) by_pixel[static_cast<std::size_t>(v * 65 + u)] = static_cast<float>(u + v);
  }
  const std::vector<float> gradient = voxel_gradient(whole(GetParam(), air), view, by_pixel);
  EXPECT_FALSE(all_zero(gradient));
  EXPECT_EQ(gradient, voxel_gradient(whole(GetParam(), tissue), view, by_pixel));
}

// The image, the image beside its derivative, and what a squared cost of it gives to the voxels.
TEST_P(RendererMethods, ShowWhatIsNoNumber) {
  std::vector<float> mu(kNx * kNy * kNz, kMu);
  mu[(8 * kNy + 9) * kNx + 5] = std::numeric_limits<float>::quiet_NaN();
  const Renderer renderer = whole(GetParam(), mu);
  const View view = facing(Beam::kPoint);
  std::vector<float> line(65 * 65), beside(line.size()), jacobian(6 * line.size());
  renderer.render(view, kAhead, {line.data(), nullptr, nullptr});
  renderer.render_jacobian(view, kAhead, store_jacobian(65, 65, beside.data(), jacobian.data()));
  int lost = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    ASSERT_EQ(std::isnan(line[i]), std::isnan(beside[i])) << i;
    ASSERT_EQ(std::isnan(line[i]), std::isnan(jacobian[i])) << i;
    lost += std::isnan(line[i]);
  }
  EXPECT_GT(lost, 0);
  EXPECT_LT(lost, static_cast<int>(line.size()) / 20);
  EXPECT_TRUE(any_nan(voxel_gradient(renderer, view, line)));
}

TEST(Renderer, MethodsAgree) {
  const Affine3<double> turned{{0.8, 0, 0.6}, {0, 1, 0}, {-0.6, 0, 0.8}, {2, 1, -450}};
  const Image a = render(block(Method::kRayCast), facing(Beam::kPoint), turned);
  const Image b = render(block(Method::kShearWarp), facing(Beam::kPoint), turned);
  double squares = 0;
  for (std::size_t k = 0; k < a.mask.size(); ++k) squares += std::pow(a.line_integral[k] - b.line_integral[k], 2);
  const float range = *std::max_element(a.line_integral.begin(), a.line_integral.end());
  // A block with sharp edges is the worst case for the final warp: 2 % of the range.
  EXPECT_LT(std::sqrt(squares / static_cast<double>(a.mask.size())), 0.02 * range);
}

TEST(Renderer, RefusesWhatItCannotRender) {
  const float mu = 1;
  EXPECT_THROW(Renderer(&mu, nullptr, 0, 1, 1, kVoxels, Method::kRayCast, Device::kCpu), std::invalid_argument);
  const Affine3<double> flat{{1, 0, 0}, {0, 1, 0}, {0, 0, 0}, {0, 0, 0}};
  EXPECT_THROW(Renderer(&mu, nullptr, 1, 1, 1, flat, Method::kRayCast, Device::kCpu), std::invalid_argument);

  const Renderer renderer = block(Method::kRayCast);
  const Affine3<double> scaled{{2, 0, 0}, {0, 2, 0}, {0, 0, 2}, {0, 0, -500}};
  EXPECT_THROW(render(renderer, facing(Beam::kPoint), scaled), std::invalid_argument);
  Affine3<double> lost = kAhead;
  lost.offset.x = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(render(renderer, facing(Beam::kPoint), lost), std::invalid_argument);
  View bad = facing(Beam::kPoint);
  bad.source = {0, 0, 0};
  EXPECT_THROW(render(renderer, bad, kAhead), std::invalid_argument);

  const std::vector<float> air(8, 0.0F);
  const Renderer without_bone(air.data(), nullptr, 2, 2, 2, kVoxels, Method::kRayCast, Device::kCpu);
  EXPECT_THROW(render(without_bone, facing(Beam::kPoint), kAhead), std::invalid_argument);
}

}  // namespace
}  // namespace fluoropose
