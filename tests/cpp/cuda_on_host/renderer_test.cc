// The CUDA sources, run by the host, beside the renderers of the CPU: images and their derivatives by the pose.
#include <cmath>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "fluoropose/drr/jacobian_sinks.h"
#include "renderer_scene.h"

namespace fluoropose {
namespace {

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

}  // namespace
}  // namespace fluoropose
