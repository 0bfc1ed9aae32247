// A similarity with its normal equations, from weighted products of images. Bodies for CPU and CUDA.
#pragma once

#include <cmath>

#include "fluoropose/core/macros.h"

namespace fluoropose {

// A similarity with its normal equations by six parameters: value = 1 - r^T r / 2.
struct NormalStep {
  double value;  // NaN where one of the images is flat
  double jtj[6][6];
  double jtr[6];
};

// Of one tile and feature: weighted sums of the products of the planes with each other (the lower triangle, row by
// row), of the planes, and of their products with A^. The planes are the moving image and, where there are seven, its
// derivative.
template <int kPlanes>
struct Moments {
  static constexpr int kProducts = kPlanes * (kPlanes + 1) / 2, kCount = kProducts + 2 * kPlanes;
  double two[kProducts], one[kPlanes], with_fixed[kPlanes];

  FLUOROPOSE_HD static constexpr int product(int i, int j) { return i * (i + 1) / 2 + j; }  // j <= i
};

constexpr double kFlat = 1e-6;  // share of the mean square: what varies less does not vary, as far as floats can tell

// Adds one tile and feature to a step, the upper triangle of J^T J left out. weight: of the tile's pixels; share: of
// the tile and feature in the value. False where the moving image is flat there.
template <int kPlanes>
FLUOROPOSE_HD bool add_tile(const Moments<kPlanes>& m, double weight, double share, NormalStep& step) {
  if (!(weight > 0)) return false;
  const auto centred = [&](int i, int j) { return m.two[m.product(i, j)] - m.one[i] * m.one[j] / weight; };
  const double square = centred(0, 0);
  if (!(square > kFlat * m.two[0])) return false;
  const double length = std::sqrt(square), correlation = m.with_fixed[0] / length;
  step.value += share * correlation;
  if constexpr (kPlanes == 7) {
    double by_moving[6];
    for (int i = 0; i < 6; ++i) by_moving[i] = centred(i + 1, 0) / length;
    for (int i = 0; i < 6; ++i) {
      step.jtr[i] -= share / length * (m.with_fixed[i + 1] - correlation * by_moving[i]);
      for (int j = 0; j <= i; ++j) {
        step.jtj[i][j] += share / square * (centred(i + 1, j + 1) - by_moving[i] * by_moving[j]);
      }
    }
  }
  return true;
}

FLUOROPOSE_HD void fill_upper_triangle(NormalStep& step) {
  for (int i = 0; i < 6; ++i) {
    for (int j = i + 1; j < 6; ++j) step.jtj[i][j] = step.jtj[j][i];
  }
}

}  // namespace fluoropose
