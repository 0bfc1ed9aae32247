#include "fluoropose/triangulation/loss.h"

#include <cmath>
#include <stdexcept>

namespace fluoropose {

void NormLoss::Evaluate(double squared_norm, double out[3]) const {
  constexpr double kEpsilon = 1e-6;  // mm
  const double root = std::sqrt(squared_norm + kEpsilon * kEpsilon);
  out[0] = 2 * (root - kEpsilon);
  out[1] = 1 / root;
  out[2] = -0.5 / (root * root * root);
}

std::unique_ptr<const ceres::LossFunction> make_loss(Loss loss, double scale_mm) {
  if (!(std::isfinite(scale_mm) && scale_mm > 0)) throw std::invalid_argument("loss_scale_mm: must be positive");
  switch (loss) {
    case Loss::kNorm:
      return std::make_unique<NormLoss>();
    case Loss::kSquared:
      return std::make_unique<ceres::TrivialLoss>();
    case Loss::kHuber:
      return std::make_unique<ceres::HuberLoss>(scale_mm);
    case Loss::kCauchy:
      return std::make_unique<ceres::CauchyLoss>(scale_mm);
  }
  throw std::invalid_argument("loss: unknown");
}

}  // namespace fluoropose
