// What becomes of an image and its derivative with respect to the pose.
#pragma once

#include <vector>

#include "fluoropose/drr/images.h"

namespace fluoropose {

// Memory for one JacobianRow.
class JacobianBuffer {
 public:
  explicit JacobianBuffer(int width) : values_(7 * static_cast<std::size_t>(width)) {
    for (int i = 0; i < 6; ++i) pose_[i] = values_.data() + static_cast<std::ptrdiff_t>(i + 1) * width;
  }
  JacobianBuffer(JacobianBuffer&&) = default;  // a copy would go on pointing into the original

  float* line() { return values_.data(); }
  float** pose() { return pose_; }
  JacobianRow at(int v) const {
    return {v, values_.data(), {pose_[0], pose_[1], pose_[2], pose_[3], pose_[4], pose_[5]}};
  }

 private:
  std::vector<float> values_;
  float* pose_[6];
};

// Stores the image (height, width) and its derivative (6, height, width).
JacobianSink store_jacobian(int width, int height, float* line, float* pose);

// Hands the rows of an image (height, width) and its derivative (6, height, width) to sink.
void hand_rows(int width, int height, const float* line, const float* pose, const JacobianSink& sink);

// Sums over all pixels, each row apart so that threads do not change the result.
class PoseGradient {
 public:
  // by_pixel: (height, width), derivative of a cost with respect to the image.
  PoseGradient(int width, int height, const float* by_pixel);
  JacobianSink sink();
  // d cost / d pose (6).
  void result(double* gradient) const;

 private:
  int width_;
  const float* by_pixel_;
  std::vector<double> rows_;  // (height, 6)
};

// J^T W J and J^T W r of the residuals r = image - target.
class NormalEquations {
 public:
  // target, weights: (height, width); weights may be null.
  NormalEquations(int width, int height, const float* target, const float* weights);
  JacobianSink sink();
  // jtj: (6, 6); jtr: (6); returns the cost r^T W r / 2.
  double result(double* jtj, double* jtr) const;

 private:
  int width_;
  const float* target_;
  const float* weights_;
  std::vector<double> rows_;  // (height, kNormalSums)
};

}  // namespace fluoropose
