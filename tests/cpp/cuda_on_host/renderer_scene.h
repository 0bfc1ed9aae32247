// What the tests of the CUDA renderers share: a renderer of the phantom on either device, and how far the two may
// differ.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "drr_scene.h"
#include "fluoropose/drr/renderer.h"

namespace fluoropose {

// Both add up the same samples in single precision, some tens of them and in another order: of images up to 0.9, a few
// times 6e-8 per sum at most.
constexpr double kTolerance = 5e-6;

inline Renderer renderer(Device device, Method method, Storage storage = Storage::kFloat32,
                         Crop crop = Crop::kOccupied) {
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

inline std::vector<float> random_image(std::size_t pixels, unsigned seed) {
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
inline View small(View view) {
  view.origin = view.pixel_centre(8, 9);
  view.width = 21, view.height = 11;
  return view;
}

// The first poses as (n, 4, 4).
inline std::vector<double> first_matrices(std::size_t n) {
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

}  // namespace fluoropose
