// What a pixel adds to the normal equations of residuals r = image - target with weights w. Body for CPU and CUDA.
#pragma once

#include "fluoropose/core/macros.h"

namespace fluoropose {

// The lower triangle of J^T W J row by row (21), J^T W r (6) and r^T W r / 2.
constexpr int kNormalSums = 21 + 6 + 1;

// j: the pixel's derivative by the six pose parameters.
template <typename Sum>
FLUOROPOSE_HD void add_normal_terms(const Sum j[6], Sum r, Sum w, Sum sums[kNormalSums]) {
  int n = 0;
  for (int row = 0; row < 6; ++row) {
    const Sum wj = w * j[row];
    for (int column = 0; column <= row; ++column) sums[n++] += wj * j[column];
    sums[21 + row] += wj * r;
  }
  sums[27] += Sum(0.5) * w * r * r;
}

// jtj: (6, 6), jtr: (6), cost: (1).
FLUOROPOSE_HD void unpack_normal_sums(const double sums[kNormalSums], double* cost, double* jtj, double* jtr) {
  int n = 0;
  for (int row = 0; row < 6; ++row) {
    for (int column = 0; column <= row; ++column, ++n) jtj[6 * row + column] = jtj[6 * column + row] = sums[n];
    jtr[row] = sums[21 + row];
  }
  *cost = sums[27];
}

// Where the normal equations of n images go.
struct NormalArrays {
  double* cost;  // (n)
  double* jtj;   // (n, 6, 6)
  double* jtr;   // (n, 6)
};

}  // namespace fluoropose
