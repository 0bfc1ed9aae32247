#include "fluoropose/triangulation/covariance.h"

#include <Eigen/Cholesky>

namespace fluoropose {

std::optional<Matrix6d> covariance(const Objective& objective, const Eigen::Matrix3d& rotation) {
  // Scaled to a unit diagonal, so that radians and mm can be judged together.
  const Vector6d scale = objective.hessian().diagonal().cwiseSqrt().cwiseMax(1e-300).cwiseInverse();
  const Matrix6d scaled = scale.asDiagonal() * objective.hessian() * scale.asDiagonal();
  const Eigen::LDLT<Matrix6d> factor(scaled);
  if (factor.info() != Eigen::Success || !(factor.vectorD().minCoeff() > 1e-12)) return std::nullopt;
  const Matrix6d inverse = scale.asDiagonal() * factor.solve(Matrix6d::Identity()) * scale.asDiagonal();

  Matrix6d middle = Matrix6d::Zero();
  const Observations& observations = objective.observations();
  for (std::size_t k = 0; k < observations.size(); ++k) {
    const ViewObservations& view = observations[k];
    std::vector<ProjectedBlock> blocks = objective.projected()[k];
    const double slope = objective.view_slope(static_cast<int>(k));
    double squares = 0, counted = 0;
    for (int i = 0; i < view.count; ++i) {
      ProjectedBlock& block = blocks[i / kLanes];
      const int lane = i % kLanes;
      const double prior = view.blocks[i / kLanes].weight[lane];
      const double ru = block.residual_u[lane], rv = block.residual_v[lane];
      const double relative = prior > 0 ? block.weight[lane] / prior : 0;  // the loss's slope for this landmark
      squares += block.weight[lane] * (ru * ru + rv * rv);
      counted += 2 * relative;
      block.weight[lane] *= relative;
    }
    // Observations of this view that the pose uses up; over all views they sum to six.
    const double used = (inverse * normal_equations(view, objective.projected()[k], rotation).hessian).trace() * slope;
    if (view.count == 0) continue;
    if (!(counted - used > 1e-6 * counted)) return std::nullopt;
    middle += squares / (counted - used) * slope * slope * normal_equations(view, blocks, rotation).hessian;
  }
  const Matrix6d result = inverse * middle * inverse;
  return (result + result.transpose()) / 2;
}

}  // namespace fluoropose
