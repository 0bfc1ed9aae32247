// The gradient by the voxels, and volumes that lie on the device already.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "renderer_scene.h"

namespace fluoropose {
namespace {

class CudaAdjoints : public testing::TestWithParam<Method> {};

TEST_P(CudaAdjoints, AreTheExactTranspose) {
  const Phantom phantom;
  const Renderer cuda = renderer(Device::kCuda, GetParam(), Storage::kFloat32, Crop::kWhole);
  const Renderer cpu = renderer(Device::kCpu, GetParam(), Storage::kFloat32, Crop::kWhole);
  for (const Beam beam : {Beam::kPoint, Beam::kParallel}) {
    const View view = view_of(beam);
    const std::size_t pixels = static_cast<std::size_t>(view.width) * view.height;
    std::vector<float> sum(phantom.mu.size()), weights;
    for (const auto& pose : kPoses) {
      std::vector<float> image(pixels), back(phantom.mu.size()), expected(phantom.mu.size());
      cuda.render(view, pose, {image.data(), nullptr, nullptr});
      std::vector<float> y = random_image(pixels, 5);
      // Whether an overshoot is cut off there is a matter of rounding.
      for (std::size_t i = 0; i < pixels; ++i) y[i] = image[i] > 1e-3f ? y[i] : 0.0f;
      weights.insert(weights.end(), y.begin(), y.end());
      cuda.volume_gradient({1, &view, &pose, nullptr}, y.data(), back.data());
      cpu.volume_gradient({1, &view, &pose, nullptr}, y.data(), expected.data());
      const double forward = std::inner_product(image.begin(), image.end(), y.begin(), 0.0);
      const double backward = std::inner_product(back.begin(), back.end(), phantom.mu.begin(), 0.0);
      EXPECT_NEAR(forward, backward, 3e-6 * forward);
      // The CPU places shear-warp's samples slice by slice, CUDA along a ray: positions differ by 1e-5 voxels, and the
      // volumes by 1.3e-5 of the largest at most.
      expect_near(back, expected, 3e-5, "volume");
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += expected[i];
    }
    // All poses in one call.
    const std::vector<View> views(kPoses.size(), view);
    const Placements at{static_cast<int>(kPoses.size()), views.data(), kPoses.data(), nullptr};
    std::vector<float> found(sum.size());
    cuda.on_device(at).volume_gradient(at, weights.data(), found.data(), nullptr);
    expect_near(found, sum, 3e-5, "sum");
  }
}

// A cost that is lost at one pixel, across the edge between air and tissue; of an image in host memory.
TEST_P(CudaAdjoints, LoseNoNaNOnTheWayToTheVoxels) {
  std::vector<float> mu(kNx * kNy * kNz), gradient(mu.size());
  for (std::size_t i = 0; i < mu.size(); ++i) mu[i] = i % kNx < kNx / 2 ? 0.0f : 0.05f;
  const Renderer cuda(mu.data(), nullptr, kNx, kNy, kNz, kBoneFromVoxel, GetParam(), Device::kCuda, Storage::kFloat32,
                      Crop::kWhole);
  const View view = view_of(Beam::kParallel);
  int cut = 0;
  for (std::size_t pixel = 13 * 37 + 15; pixel < 13 * 37 + 26; ++pixel) {
    std::vector<float> by_pixel(37 * 29);
    by_pixel[pixel] = 1;
    cuda.volume_gradient({1, &view, &kPoses[0], nullptr}, by_pixel.data(), gradient.data());
    cut += std::all_of(gradient.begin(), gradient.end(), [](float value) { return value == 0; });
    by_pixel[pixel] = NAN;
    cuda.volume_gradient({1, &view, &kPoses[0], nullptr}, by_pixel.data(), gradient.data());
    EXPECT_TRUE(std::any_of(gradient.begin(), gradient.end(), [](float value) { return std::isnan(value); })) << pixel;
  }
  EXPECT_EQ(cut > 0, GetParam() == Method::kShearWarp);
}

// The pose of one of two images in the device's memory is not rigid, so that the image is NaN.
TEST_P(CudaAdjoints, AreNaNWhereAnImageIs) {
  const Renderer cuda = renderer(Device::kCuda, GetParam(), Storage::kFloat32, Crop::kWhole);
  const View view = small(view_of(Beam::kPoint));
  const std::vector<View> views(2, view);
  std::vector<double> matrices = first_matrices(2);
  const Placements at{2, views.data(), nullptr, matrices.data()};
  std::vector<float> gradient(kNx * kNy * kNz);
  const std::vector<float> by_pixel(2 * at.size().pixels(), 1.0f);
  const auto lost = [&] {
    cuda.on_device(at).volume_gradient(at, by_pixel.data(), gradient.data(), nullptr);
    return std::count_if(gradient.begin(), gradient.end(), [](float value) { return std::isnan(value); });
  };
  EXPECT_EQ(lost(), 0);
  for (std::size_t i = 0; i < 3; ++i) matrices[16 + i] *= 1.1;
  EXPECT_EQ(lost(), static_cast<std::ptrdiff_t>(gradient.size()));
}

// As torch does: of a volume that lies on the device, in memory that is lent, without waiting.
TEST_P(CudaAdjoints, TakeTheVolumeFromTheDevice) {
  const Phantom phantom;
  const Renderer expected = renderer(Device::kCuda, GetParam(), Storage::kFloat32, Crop::kWhole);
  std::size_t lent = 0;
  const auto allocate = [&lent](std::size_t bytes) {
    lent += bytes;
    const std::shared_ptr<void> memory(std::malloc(bytes), [&lent, bytes](void* returned) {
      lent -= bytes;
      std::free(returned);
    });
    std::memset(memory.get(), 0xff, bytes);
    return memory;
  };
  const View view = small(view_of(Beam::kPoint));
  const std::vector<View> views(2, view);
  const Placements at{2, views.data(), kPoses.data() + 1, nullptr};
  const std::size_t pixels = 2 * at.size().pixels();
  const std::vector<float> weights = random_image(pixels, 4);
  std::vector<float> image(pixels), volume(phantom.mu.size()), expected_image(pixels), expected_volume(volume);
  std::vector<double> gradients(12), expected_gradients(12);
  const auto run = [&](const Renderer& one, float* images, double* by_pose, float* by_voxel) {
    const CudaRenderer& device = one.on_device(at);
    device.images(at, {images, nullptr, nullptr}, nullptr);
    device.pose_gradients(at, weights.data(), by_pose, nullptr);
    device.volume_gradient(at, weights.data(), by_voxel, nullptr);
  };
  run(expected, expected_image.data(), expected_gradients.data(), expected_volume.data());
  const auto before = cuda_on_host::counts;
  {
    std::vector<float> mu = phantom.mu;
    const Renderer found(mu.data(), kNx, kNy, kNz, kBoneFromVoxel, GetParam(), {0, allocate, nullptr});
    std::fill(mu.begin(), mu.end(), 1e9f);  // it has its own copy
    run(found, image.data(), gradients.data(), volume.data());
    EXPECT_GT(lent, phantom.mu.size() * 2 * sizeof(float));
    EXPECT_EQ(found.whole_size().x, kNx);
  }
  EXPECT_EQ(lent, 0u);
  EXPECT_EQ(cuda_on_host::counts.allocations, before.allocations);
  EXPECT_EQ(cuda_on_host::counts.waits, before.waits);
  EXPECT_EQ(image, expected_image);
  EXPECT_EQ(gradients, expected_gradients);
  EXPECT_EQ(volume, expected_volume);
  EXPECT_GT(*std::max_element(volume.begin(), volume.end()), 0);
}

TEST(CudaRenderer, NamesWhatIsWrongWithAVolumeOnTheDevice) {
  const float mu = 1;
  const DeviceLoan loan{0, [](std::size_t) -> std::shared_ptr<void> { throw std::runtime_error("nothing to lend"); },
                        nullptr};
  const auto make = [&](int nx, const Affine3<double>& map) {
    return Renderer(&mu, nx, 1, 1, map, Method::kRayCast, loan);
  };
  EXPECT_THROW(make(0, kBoneFromVoxel), std::invalid_argument);
  EXPECT_THROW(make(1, {{1, 0, 0}, {2, 0, 0}, {0, 0, 1}, {}}), std::invalid_argument);
  EXPECT_THROW(make(1, kBoneFromVoxel), std::runtime_error);
}

// Voxels that nobody could look at: their images tell.
TEST(CudaRenderer, ShowsWhatIsNoNumber) {
  for (const Method method : {Method::kRayCast, Method::kShearWarp, Method::kTrilinear}) {
    std::vector<float> mu(kNx * kNy * kNz, 0.01f);
    mu[static_cast<std::size_t>((9 * kNy + 8) * kNx + 11)] = NAN;
    const auto allocate = [](std::size_t bytes) { return std::shared_ptr<void>(std::malloc(bytes), std::free); };
    const Renderer found(mu.data(), kNx, kNy, kNz, kBoneFromVoxel, method, {0, allocate, nullptr});
    const View view = small(view_of(Beam::kPoint));
    std::vector<float> image(static_cast<std::size_t>(view.width) * view.height);
    found.render(view, kPoses[0], {image.data(), nullptr, nullptr});
    const auto lost = std::count_if(image.begin(), image.end(), [](float value) { return std::isnan(value); });
    EXPECT_GT(lost, 0) << static_cast<int>(method);
    EXPECT_LT(lost, static_cast<std::ptrdiff_t>(image.size()) / 2) << static_cast<int>(method);
  }
}

INSTANTIATE_TEST_SUITE_P(Both, CudaAdjoints, testing::Values(Method::kRayCast, Method::kShearWarp),
                         [](const auto& method) {
                           return std::string(method.param == Method::kRayCast ? "RayCast" : "ShearWarp");
                         });

}  // namespace
}  // namespace fluoropose
