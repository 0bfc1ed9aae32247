// The path through each label, beside that of the CPU.
#include "fluoropose/drr/label_renderer.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

#include "cuda_runtime.h"
#include "renderer_scene.h"

namespace fluoropose {
namespace {

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
