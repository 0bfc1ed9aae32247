// The forms of the cost: which residuals share a block, and what a block's squared norm s costs. As in Ceres, a problem
// costs the sum of rho(s) / 2 over its blocks.
#pragma once

#include <ceres/loss_function.h>

#include <memory>

namespace fluoropose {

enum class Loss {
  kNorm,     // Zhou et al. 2021, Eq. 2: one block per view, costing the norm of the view's residuals (mm)
  kSquared,  // half the sum of squares (mm^2)
  kHuber,    // one block per landmark and view; scale in mm
  kCauchy,   // one block per landmark and view; scale in mm
};

// rho(s) = 2 sqrt(s), so that a block costs sqrt(s). The root is taken of s + epsilon^2: its slope stays finite at s =
// 0, and the cost differs from the norm by less than epsilon = 1 nm.
class NormLoss final : public ceres::LossFunction {
 public:
  void Evaluate(double squared_norm, double out[3]) const override;
};

// Throws std::invalid_argument unless scale_mm is finite and positive (it is read by kHuber and kCauchy only).
std::unique_ptr<const ceres::LossFunction> make_loss(Loss loss, double scale_mm);

inline bool one_block_per_view(Loss loss) { return loss == Loss::kNorm || loss == Loss::kSquared; }

}  // namespace fluoropose
