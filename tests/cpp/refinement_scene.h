// Radiographs of a lopsided blob that the tests of the refinement share.
#pragma once

#include <algorithm>
#include <cmath>
#include <deque>
#include <vector>

#include "fluoropose/refinement/levenberg.h"
#include "fluoropose/refinement/tone.h"

namespace fluoropose {

constexpr int kSide = 48, kPixels = 64;
const std::vector<float> kSmooth{0.25f, 0.5f, 0.25f}, kSlope{-0.5f, 0.0f, 0.5f};
const Affine3<double> kTruth{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, -2, -300}};
const LevenbergSettings kSettings{30, 0.005, 1e-3, 5.0, 10.0, 0.7};

// Of 1 mm voxels, or of coarser ones, the middle at the bone's origin.
inline Renderer blobs(Device device, int voxel_mm = 1) {
  std::vector<float> mu;
  const double centres[4][3] = {{24, 24, 24}, {33, 22, 20}, {20, 34, 28}, {26, 18, 34}};
  const double first = 0.5 * (voxel_mm - 1);
  for (double z = first; z < kSide; z += voxel_mm) {
    for (double y = first; y < kSide; y += voxel_mm) {
      for (double x = first; x < kSide; x += voxel_mm) {
        double value = 0;
        for (const auto& c : centres) {
          value += std::exp(-((x - c[0]) * (x - c[0]) + (y - c[1]) * (y - c[1]) + (z - c[2]) * (z - c[2])) / 20);
        }
        mu.push_back(static_cast<float>(0.03 * std::max(value - 0.02, 0.0)));  // air around
      }
    }
  }
  const double step = voxel_mm, origin = first - 0.5 * (kSide - 1);
  const int side = kSide / voxel_mm;
  return {mu.data(),
          nullptr,
          side,
          side,
          side,
          {{step, 0, 0}, {0, step, 0}, {0, 0, step}, {origin, origin, origin}},
          Method::kShearWarp,
          device};
}

inline View view_along(const Vec3<double>& u, const Vec3<double>& ray, int pixels = kPixels) {
  const Vec3<double> centre = kTruth.offset + ray * 300, v{0, 1, 0};
  return {pixels, pixels, centre + (u + v) * (-0.5 * (pixels - 1)), u, v, centre - ray * 1000, Beam::kPoint};
}

// Turned about the z axis and shifted from the truth.
inline Affine3<double> off(double turn, const Vec3<double>& shift) {
  const double c = std::cos(turn), s = std::sin(turn);
  return {{c, -s, 0}, {s, c, 0}, {0, 0, 1}, kTruth.offset + shift};
}

// Two views whose fixed images a renderer makes at the truth, one smaller than the other, to be compared with moving
// ones of others.
struct Comparisons {
  std::deque<GradientCorrelation> similarities;
  std::vector<ComparedView> views;

  Comparisons(const Renderer& fixed, std::vector<const Renderer*> moving, std::vector<double> spacings_mm,
              float veil = 0.0f, int tile_px = 0, int smaller = 0) {
    for (const View& view : {view_along({1, 0, 0}, {0, 0, 1}), view_along({0, 0, -1}, {1, 0, 0}, kPixels - smaller)}) {
      std::vector<float> image(static_cast<std::size_t>(view.width) * view.height), weights;
      fixed.render(view, kTruth, {image.data(), nullptr, nullptr});
      // Not where so little shows that rounding decides what is alike.
      for (const float line : image) weights.push_back(line > 0.05f ? 1.0f : 0.0f);
      if (veil > 0) show(image.data(), static_cast<int>(image.size()), veil, image.data(), nullptr);
      similarities.emplace_back(image.data(), weights.data(), view.width, view.height, kSmooth, kSlope, tile_px);
      views.push_back({view, &similarities.back(), veil, moving, spacings_mm});
    }
  }
};

}  // namespace fluoropose
