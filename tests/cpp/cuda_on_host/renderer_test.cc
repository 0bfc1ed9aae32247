// The CUDA sources, run by the host, beside the renderers of the CPU.
#include "fluoropose/drr/renderer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "cuda_runtime.h"
#include "drr_scene.h"
#include "fluoropose/drr/jacobian_sinks.h"
#include "fluoropose/drr/label_renderer.h"

namespace fluoropose {
namespace {

// Both add up the same samples in single precision, some tens of them and in another order: of images up to 0.9, a few
// times 6e-8 per sum at most.
constexpr double kTolerance = 5e-6;

Renderer renderer(Device device, Method method, Storage storage = Storage::kFloat32, Crop crop = Crop::kOccupied) {
  const Phantom phantom;
  return {phantom.mu.data(),
          crop == Crop::kWhole ? nullptr : phantom.bone.data(),
          kNx,
          kNy,
          kNz,
          kBoneFromVoxel,
          method,
          device,
          storage,
          crop};
}

std::vector<float> random_image(std::size_t pixels, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(0.0f, 1.0f);
  std::vector<float> image(pixels);
  for (float& one : image) one = value(random);
  return image;
}

template <typename T>
void expect_near(const std::vector<T>& found, const std::vector<T>& expected, double share, const std::string& what) {
  double largest = 0;
  for (const T one : expected) largest = std::max(largest, std::abs(static_cast<double>(one)));
  EXPECT_GT(largest, 0) << what;
  for (std::size_t i = 0; i < found.size(); ++i)
    ASSERT_NEAR(found[i], expected[i], share * largest) << what << " " << i;
}

// The middle of a view, of few blocks of threads, and those at its edges not full.
View small(View view) {
  view.origin = view.pixel_centre(8, 9);
  view.width = 21, view.height = 11;
  return view;
}

// The first poses as (n, 4, 4).
std::vector<double> first_matrices(std::size_t n) {
  std::vector<double> matrices;
  for (std::size_t i = 0; i < n; ++i) {
    const Affine3<double>& pose = kPoses[i];
    for (const auto& [row, offset] : {std::pair{pose.row0, pose.offset.x},
                                      {pose.row1, pose.offset.y},
                                      {pose.row2, pose.offset.z},
                                      {Vec3<double>{0, 0, 0}, 1.0}}) {
      matrices.insert(matrices.end(), {row.x, row.y, row.z, offset});
    }
  }
  return matrices;
}

struct Case {
  Method method;
  Storage storage;
  Beam beam;
};

class CudaRenderers : public testing::TestWithParam<Case> {
 protected:
  const View view = small(view_of(GetParam().beam));
  const std::size_t pixels = static_cast<std::size_t>(view.width) * view.height;
  const Renderer cpu = renderer(Device::kCpu, GetParam().method, GetParam().storage);
  const Renderer cuda = renderer(Device::kCuda, GetParam().method, GetParam().storage);
};

TEST_P(CudaRenderers, MakeTheSameImages) {
  for (const auto& pose : kPoses) {
    Images expected(view), found(view);
    cpu.render(view, pose, expected.out());
    cuda.render(view, pose, found.out());
    expect_near(found.line, expected.line, kTolerance, "line");
    expect_near(found.bone, expected.bone, kTolerance, "bone");
    int different = 0;
    for (std::size_t i = 0; i < pixels; ++i) different += found.mask[i] != expected.mask[i];
    EXPECT_LE(different, 1);  // a weight of one half may round either way
  }
}

TEST_P(CudaRenderers, MakeManyImagesAtOnce) {
  const std::vector<View> views(kPoses.size(), view);
  std::vector<float> expected(kPoses.size() * pixels), found(expected.size());
  cpu.render_many(views, kPoses, expected.data());
  cuda.render_many(views, kPoses, found.data());
  expect_near(found, expected, kTolerance, "images");
}

TEST_P(CudaRenderers, DeriveByThePose) {
  // Where a sample lies on a voxel's face, rounding decides between the slopes of either side.
  int kinks = 0;
  for (const auto& pose : kPoses) {
    std::vector<float> line(pixels), jacobian(6 * pixels), found_line(pixels), found(6 * pixels);
    cpu.render_jacobian(view, pose, store_jacobian(view.width, view.height, line.data(), jacobian.data()));
    cuda.render_jacobian(view, pose, store_jacobian(view.width, view.height, found_line.data(), found.data()));
    expect_near(found_line, line, kTolerance, "line");
    double largest = 0;
    for (const float one : jacobian) largest = std::max(largest, static_cast<double>(std::abs(one)));
    for (std::size_t i = 0; i < found.size(); ++i) kinks += std::abs(found[i] - jacobian[i]) > 2e-4 * largest;
  }
  EXPECT_LE(kinks, 20) << "of " << kPoses.size() * 6 * pixels;
}

TEST_P(CudaRenderers, SumDerivativesAsIfTheyHadBeenStored) {
  const std::vector<float> target = random_image(pixels, 1), weights = random_image(pixels, 2);
  for (const auto& pose : {kPoses[0], kPoses[4]}) {
    std::vector<float> line(pixels), jacobian(6 * pixels);
    cuda.render_jacobian(view, pose, store_jacobian(view.width, view.height, line.data(), jacobian.data()));
    for (const float* w : {weights.data(), static_cast<const float*>(nullptr)}) {
      std::vector<double> sums(kNormalSums), gradient(6);
      for (std::size_t i = 0; i < pixels; ++i) {
        double j[6];
        for (std::size_t p = 0; p < 6; ++p) {
          j[p] = jacobian[p * pixels + i];
          gradient[p] += weights[i] * j[p];
        }
        add_normal_terms(j, static_cast<double>(line[i]) - target[i], w ? static_cast<double>(w[i]) : 1.0, sums.data());
      }
      double expected_cost = 0, cost = 0;
      std::vector<double> expected_jtj(36), expected_jtr(6), jtj(36), jtr(6), found(6);
      unpack_normal_sums(sums.data(), &expected_cost, expected_jtj.data(), expected_jtr.data());
      cuda.normal_equations(view, pose, target.data(), w, {&cost, jtj.data(), jtr.data()});
      cuda.pose_gradient(view, pose, weights.data(), found.data());
      EXPECT_NEAR(cost, expected_cost, 1e-6 * expected_cost);
      expect_near(jtj, expected_jtj, 1e-6, "jtj");
      expect_near(jtr, expected_jtr, 2e-6, "jtr");
      expect_near(found, gradient, 2e-6, "gradient");
    }
  }
}

// A graph that was captured goes on using the memory of that call, also when a larger one needs more.
TEST_P(CudaRenderers, KeepTheMemoryOfGraphs) {
  const std::vector<Affine3<double>> poses(kPoses.begin(), kPoses.begin() + 3);
  std::vector<float> images(3 * pixels);
  const auto render = [&](int count) {
    const std::vector<View> views(static_cast<std::size_t>(count), view);
    const Placements at{count, views.data(), poses.data(), nullptr};
    cuda.on_device(at).images(at, {images.data(), nullptr, nullptr}, nullptr);
  };
  cuda_on_host::capturing = true;
  render(1);
  cuda_on_host::capturing = false;
  const int before = cuda_on_host::counts.frees;
  render(2);
  EXPECT_EQ(cuda_on_host::counts.frees, before);
  render(3);
  EXPECT_GT(cuda_on_host::counts.frees, before);  // of what no graph has seen
}

// Poses in the device's memory, twice: the second call must neither allocate nor wait.
TEST_P(CudaRenderers, WorkOnTheDeviceWithoutWaiting) {
  const std::size_t n = 3;
  const std::vector<View> views(n, view);
  std::vector<double> matrices = first_matrices(n);
  for (std::size_t i = 0; i < 3; ++i) matrices[16 + i] *= 1.1;  // the second pose is not rigid
  const Placements at{static_cast<int>(n), views.data(), nullptr, matrices.data()};
  const CudaRenderer& device = cuda.on_device(at);
  const std::vector<float> weights = random_image(n * pixels, 3);
  std::vector<float> images(n * pixels), expected(n * pixels);
  std::vector<double> gradients(6 * n), cost(n), jtj(36 * n), jtr(6 * n);
  for (const bool first : {true, false}) {
    const auto before = cuda_on_host::counts;
    device.images(at, {images.data(), nullptr, nullptr}, nullptr);
    device.pose_gradients(at, weights.data(), gradients.data(), nullptr);
    device.normal_equations(at, weights.data(), nullptr, {cost.data(), jtj.data(), jtr.data()}, nullptr);
    if (first) continue;
    EXPECT_EQ(cuda_on_host::counts.allocations, before.allocations);
    EXPECT_EQ(cuda_on_host::counts.waits, before.waits);
    EXPECT_LE(cuda_on_host::counts.launches - before.launches, 11);
  }
  cuda.render_many(views, {kPoses.begin(), kPoses.begin() + n}, expected.data());
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (i / pixels == 1) {
      ASSERT_TRUE(std::isnan(images[i]));
    } else {
      ASSERT_EQ(images[i], expected[i]);
    }
  }
  for (std::size_t k = 0; k < n; ++k) {
    std::vector<double> one(6), one_jtj(36), one_jtr(6);
    double one_cost = 0;
    cuda.pose_gradient(view, kPoses[k], weights.data() + k * pixels, one.data());
    cuda.normal_equations(view, kPoses[k], weights.data() + k * pixels, nullptr,
                          {&one_cost, one_jtj.data(), one_jtr.data()});
    for (std::size_t i = 0; i < 6; ++i) {
      if (k == 1) {
        EXPECT_TRUE(std::isnan(gradients[6 * k + i]) && std::isnan(jtr[6 * k + i]) && std::isnan(cost[k]));
        continue;
      }
      EXPECT_EQ(gradients[6 * k + i], one[i]);
      EXPECT_EQ(jtr[6 * k + i], one_jtr[i]);
      EXPECT_EQ(jtj[36 * k + 7 * i], one_jtj[7 * i]);
    }
  }
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  const std::string methods[] = {"RayCast", "ShearWarp", "Trilinear"};
  return methods[static_cast<int>(info.param.method)] + (info.param.storage == Storage::kInt16 ? "Int16" : "Float32") +
         (info.param.beam == Beam::kPoint ? "Point" : "Parallel");
}

INSTANTIATE_TEST_SUITE_P(All, CudaRenderers,
                         testing::Values(Case{Method::kRayCast, Storage::kFloat32, Beam::kPoint},
                                         Case{Method::kRayCast, Storage::kInt16, Beam::kParallel},
                                         Case{Method::kShearWarp, Storage::kFloat32, Beam::kPoint},
                                         Case{Method::kShearWarp, Storage::kInt16, Beam::kPoint},
                                         Case{Method::kShearWarp, Storage::kFloat32, Beam::kParallel},
                                         Case{Method::kTrilinear, Storage::kFloat32, Beam::kPoint}),
                         name_of);

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
      cuda.volume_gradient(view, pose, y.data(), back.data());
      cpu.volume_gradient(view, pose, y.data(), expected.data());
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

TEST(CudaLabelRenderer, FindsTheSamePaths) {
  constexpr int kCount = 5;
  std::vector<float> labels(kNx * kNy * kNz);
  std::mt19937 random(9);
  // Blocks of 3 x 3 x 3 voxels, so that rays meet insides and faces.
  std::vector<float> of_block(8 * 6 * 7);
  for (float& label : of_block) label = static_cast<float>(random() % (kCount + 1));
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::size_t x = i % kNx, y = i / kNx % kNy, z = i / kNx / kNy;
    labels[i] = of_block[(z / 3 * 6 + y / 3) * 8 + x / 3];
  }
  const LabelRenderer cpu(labels.data(), kCount, kNx, kNy, kNz, kBoneFromVoxel, Device::kCpu);
  const LabelRenderer cuda(labels.data(), kCount, kNx, kNy, kNz, kBoneFromVoxel, Device::kCuda);
  const View view = small(view_of(Beam::kPoint));
  const std::size_t size = static_cast<std::size_t>(view.width) * view.height * kCount;
  for (const auto& pose : kPoses) {
    std::vector<float> expected(size), found(size);
    cpu.render(view, pose, expected.data());
    cuda.render(view, pose, found.data());
    expect_near(found, expected, kTolerance, "paths");
  }
  // Several in the device's memory; the second time without allocating.
  const std::vector<View> views(kPoses.size(), view);
  const Placements at{static_cast<int>(kPoses.size()), views.data(), kPoses.data(), nullptr};
  std::vector<float> expected(kPoses.size() * size);
  for (std::size_t i = 0; i < kPoses.size(); ++i) cpu.render(view, kPoses[i], expected.data() + i * size);
  for (const bool first : {true, false}) {
    std::vector<float> found(expected.size(), 7.0f);
    const auto before = cuda_on_host::counts;
    cuda.on_device(at).render(at, found.data(), nullptr);
    EXPECT_TRUE(first || cuda_on_host::counts.allocations == before.allocations);
    EXPECT_EQ(cuda_on_host::counts.waits, before.waits);
    expect_near(found, expected, kTolerance, "many paths");
  }
  std::vector<double> matrices = first_matrices(2);
  for (std::size_t i = 0; i < 3; ++i) matrices[i] *= 1.1;  // the first pose is not rigid
  std::vector<float> two(2 * size);
  cuda.on_device(at).render({2, views.data(), nullptr, matrices.data()}, two.data(), nullptr);
  EXPECT_TRUE(std::all_of(two.begin(), two.begin() + size, [](float path) { return std::isnan(path); }));
  expect_near<float>({two.begin() + size, two.end()}, {expected.begin() + size, expected.begin() + 2 * size},
                     kTolerance, "paths of the second pose");
  EXPECT_EQ(cuda.cuda_device(), 0);
  EXPECT_EQ(cpu.cuda_device(), -1);
  EXPECT_THROW(cpu.on_device(at), std::invalid_argument);
}

}  // namespace
}  // namespace fluoropose
