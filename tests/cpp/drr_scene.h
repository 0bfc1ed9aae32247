// A small volume and views of it that the tests of the renderers share.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "fluoropose/drr/images.h"
#include "fluoropose/geometry/view.h"
#include "fluoropose/volume/grid.h"

namespace fluoropose {

constexpr int kNx = 23, kNy = 17, kNz = 19;
const Affine3<double> kBoneFromVoxel{{0.8, 0, 0}, {0, -1.1, 0}, {0, 0, 1.5}, {-8.8, 8.8, -13.5}};

struct Phantom {
  std::vector<float> mu = std::vector<float>(kNx * kNy * kNz);
  std::vector<std::uint8_t> bone = std::vector<std::uint8_t>(kNx * kNy * kNz);

  // Noise with empty rows, an empty border and a part marked as bone.
  Phantom() {
    std::mt19937 random(7);
    std::uniform_real_distribution<float> value(0.0f, 0.05f);
    for (int z = 2; z < kNz - 1; ++z) {
      for (int y = 1; y < kNy; ++y) {
        if (y % 5 == 0) continue;
        for (int x = 3; x < kNx - 2; ++x) {
          const std::size_t i = static_cast<std::size_t>((z * kNy + y) * kNx + x);
          mu[i] = value(random);
          bone[i] = x > 7 && x < 13 && z > 5 && z < 12;
        }
      }
    }
  }

  Grid<float> grid() const { return Grid<float>(mu.data(), bone.data(), kNx, kNy, kNz, kBoneFromVoxel); }
};

struct Images {
  std::vector<float> line, bone;
  std::vector<std::uint8_t> mask;

  Images(int width, int height)
      : line(static_cast<std::size_t>(width) * height), bone(line.size()), mask(line.size()) {}
  explicit Images(const View& view) : Images(view.width, view.height) {}
  DrrImages out() { return {line.data(), bone.data(), mask.data()}; }
};

inline Affine3<double> turned(double x, double y, double z) {
  const double cx = std::cos(x), sx = std::sin(x), cy = std::cos(y), sy = std::sin(y), cz = std::cos(z),
               sz = std::sin(z);
  return {{cy * cz, -cy * sz, sy},
          {sx * sy * cz + cx * sz, -sx * sy * sz + cx * cz, -sx * cy},
          {-cx * sy * cz + sx * sz, cx * sy * sz + sx * cz, cx * cy},
          {1.5, -2.0, 4.0}};
}

// 37 x 29 pixels of an oblique detector: sizes that no vector length divides.
inline View view_of(Beam beam) {
  return {37,
          29,
          {-21, -16, 60},
          {1.2, 0.05, 0.1},
          {-0.04, 1.1, 0.02},
          beam == Beam::kPoint ? Vec3<double>{2, -3, -90} : Vec3<double>{0.05, -0.1, 0.99},
          beam};
}

const std::vector<Affine3<double>> kPoses = {turned(0, 0, 0),       turned(1.5, 0.1, 0.3), turned(0.2, 1.5, -0.4),
                                             turned(3.0, 0.2, 1.0), turned(0.7, 0.7, 0.2), turned(-1.4, 0.2, 2.0)};

}  // namespace fluoropose
