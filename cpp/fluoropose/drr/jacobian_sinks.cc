#include "fluoropose/drr/jacobian_sinks.h"

#include <algorithm>

#include "fluoropose/drr/normal_terms.h"

namespace fluoropose {

JacobianSink store_jacobian(int width, int height, float* line, float* pose) {
  const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(width) * height;
  return [=](const JacobianRow& row) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(row.v) * width;
    std::copy_n(row.line, width, line + at);
    for (int i = 0; i < 6; ++i) std::copy_n(row.pose[i], width, pose + i * plane + at);
  };
}

void hand_rows(int width, int height, const float* line, const float* pose, const JacobianSink& sink) {
  const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(width) * height;
  for (int v = 0; v < height; ++v) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(v) * width;
    JacobianRow row{v, line + at, {}};
    for (int i = 0; i < 6; ++i) row.pose[i] = pose + i * plane + at;
    sink(row);
  }
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
    : width_(width), target_(target), weights_(weights), rows_(static_cast<std::size_t>(height) * kNormalSums) {}

JacobianSink NormalEquations::sink() {
  return [this](const JacobianRow& row) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(row.v) * width_;
    double* sums = rows_.data() + static_cast<std::ptrdiff_t>(row.v) * kNormalSums;
    for (int u = 0; u < width_; ++u) {
      double j[6];
      for (int i = 0; i < 6; ++i) j[i] = row.pose[i][u];
      add_normal_terms(j, static_cast<double>(row.line[u]) - target_[at + u],
                       weights_ ? static_cast<double>(weights_[at + u]) : 1.0, sums);
    }
  };
}

double NormalEquations::result(double* jtj, double* jtr) const {
  double sums[kNormalSums] = {}, cost = 0;
  for (std::size_t i = 0; i < rows_.size(); ++i) sums[i % kNormalSums] += rows_[i];
  unpack_normal_sums(sums, &cost, jtj, jtr);
  return cost;
}

}  // namespace fluoropose
