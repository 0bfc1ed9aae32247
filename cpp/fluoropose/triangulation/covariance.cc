#include "fluoropose/triangulation/covariance.h"

#include <Eigen/Cholesky>

namespace fluoropose {
namespace {

// What the loss makes of one view's residuals r.
struct ViewStatistics {
  double slope = 0;           // mean derivative of the loss's gradient rho'(s) r to r
  double sum_of_squares = 0;  // of rho'(s) r
};

ViewStatistics view_statistics(const ViewObservations& view, const std::vector<ProjectedBlock>& projected, Loss loss,
                               const ceres::LossFunction& rho) {
  std::vector<double> squares;
  double total = 0;
  for (int i = 0; i < view.count; ++i) {
    const ProjectedBlock& block = projected[i / kLanes];
    const int lane = i % kLanes;
    const double ru = block.residual_u[lane], rv = block.residual_v[lane];
    squares.push_back(block.weight[lane] * (ru * ru + rv * rv));
    total += squares.back();
  }
  double out[3];
  ViewStatistics result;
  if (one_block_per_view(loss)) {
    rho.Evaluate(total, out);
    return {out[1], out[1] * out[1] * total};
  }
  for (const double s : squares) {
    rho.Evaluate(s, out);
    // The derivative of rho'(s) r to r is rho' I + 2 rho'' r r^T; over all directions of r, r r^T is s / 2 I on
    // average.
    result.slope += (out[1] + out[2] * s) / view.count;
    result.sum_of_squares += out[1] * out[1] * s;
  }
  return result;
}

}  // namespace

std::optional<Matrix6d> covariance(const Observations& observations, const Pose& world_from_bone, Loss loss,
                                   const ceres::LossFunction& rho) {
  const ceres::TrivialLoss squared;
  Objective objective(observations, Loss::kSquared, squared);
  if (!objective.evaluate(world_from_bone)) return std::nullopt;
  std::vector<Matrix6d> information;
  std::vector<ViewStatistics> statistics;
  Matrix6d bread = Matrix6d::Zero();
  for (std::size_t k = 0; k < observations.size(); ++k) {
    const std::vector<ProjectedBlock>& projected = objective.projected()[k];
    information.push_back(normal_equations(observations[k], projected, world_from_bone.rotation).hessian);
    statistics.push_back(view_statistics(observations[k], projected, loss, rho));
    bread += statistics[k].slope * information[k];
  }
  // Scaled to a unit diagonal, so that radians and mm can be judged together.
  const Vector6d scale = bread.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
  const Eigen::LDLT<Matrix6d> factor(scale.asDiagonal() * bread * scale.asDiagonal());
  if (factor.info() != Eigen::Success || !(factor.vectorD().minCoeff() > 1e-12)) return std::nullopt;
  const Matrix6d inverse = scale.asDiagonal() * factor.solve(Matrix6d::Identity()) * scale.asDiagonal();

  Matrix6d middle = Matrix6d::Zero();
  for (std::size_t k = 0; k < observations.size(); ++k) {
    if (observations[k].count == 0) continue;
    // The observations of this view that the pose uses up; over all views they are six.
    const double used = statistics[k].slope * (inverse * information[k]).trace();
    const double spare = 2 * observations[k].count - used;
    if (!(spare > 1e-6)) return std::nullopt;
    middle += statistics[k].sum_of_squares / spare * information[k];
  }
  const Matrix6d result = inverse * middle * inverse;
  return (result + result.transpose()) / 2;
}

}  // namespace fluoropose
