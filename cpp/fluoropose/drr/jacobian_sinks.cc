#include "fluoropose/drr/jacobian_sinks.h"

#include <algorithm>

namespace fluoropose {

JacobianSink store_jacobian(int width, int height, float* line, float* pose) {
  const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(width) * height;
  return [=](const JacobianRow& row) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(row.v) * width;
    std::copy_n(row.line, width, line + at);
    for (int i = 0; i < 6; ++i) std::copy_n(row.pose[i], width, pose + i * plane + at);
  };
}

PoseGradient::PoseGradient(int width, int height, const float* by_pixel)
    : width_(width), by_pixel_(by_pixel), rows_(static_cast<std::size_t>(height) * 6) {}

JacobianSink PoseGradient::sink() {
  return [this](const JacobianRow& row) {
    const float* weight = by_pixel_ + static_cast<std::ptrdiff_t>(row.v) * width_;
    for (int i = 0; i < 6; ++i) {
      double sum = 0;
      for (int u = 0; u < width_; ++u) sum += static_cast<double>(weight[u]) * row.pose[i][u];
      rows_[static_cast<std::size_t>(row.v) * 6 + i] = sum;
    }
  };
}

void PoseGradient::result(double* gradient) const {
  std::fill_n(gradient, 6, 0.0);
  for (std::size_t i = 0; i < rows_.size(); ++i) gradient[i % 6] += rows_[i];
}

NormalEquations::NormalEquations(int width, int height, const float* target, const float* weights)
    : width_(width), target_(target), weights_(weights), rows_(static_cast<std::size_t>(height) * kSums) {}

JacobianSink NormalEquations::sink() {
  return [this](const JacobianRow& row) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(row.v) * width_;
    double* sums = rows_.data() + static_cast<std::ptrdiff_t>(row.v) * kSums;
    for (int u = 0; u < width_; ++u) {
      const double r = static_cast<double>(row.line[u]) - target_[at + u], w = weights_ ? weights_[at + u] : 1.0;
      int n = 0;
      for (int i = 0; i < 6; ++i) {
        const double wj = w * row.pose[i][u];
        for (int j = 0; j <= i; ++j) sums[n++] += wj * row.pose[j][u];
        sums[21 + i] += wj * r;
      }
      sums[27] += 0.5 * w * r * r;
    }
  };
}

double NormalEquations::result(double* jtj, double* jtr) const {
  double sums[kSums] = {};
  for (std::size_t i = 0; i < rows_.size(); ++i) sums[i % kSums] += rows_[i];
  int n = 0;
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j <= i; ++j, ++n) jtj[6 * i + j] = jtj[6 * j + i] = sums[n];
    jtr[i] = sums[21 + i];
  }
  return sums[27];
}

}  // namespace fluoropose
