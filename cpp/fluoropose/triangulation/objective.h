// The cost of a pose and its derivatives. A pose is moved by (omega, v), radians and mm in world axes:
// R <- exp(omega) R, t <- t + v.
#pragma once

#include <Eigen/Core>
#include <vector>

#include "fluoropose/triangulation/loss.h"
#include "fluoropose/triangulation/observations.h"

namespace fluoropose {

using Vector6d = Eigen::Matrix<double, 6, 1>;
using Matrix6d = Eigen::Matrix<double, 6, 6>;

// Residuals of one block of observations at a pose.
struct ProjectedBlock {
  Lanes u, v;                    // mm on the image plane: projected landmarks
  Lanes residual_u, residual_v;  // mm: predicted minus projected
  Lanes inverse_depth;
  Lanes weight;  // observation weight times the loss's slope
};

// One view's share of the Gauss-Newton system: J^T W J and the gradient -J^T W r, with J the derivative of the
// projected positions and r the residuals.
struct NormalEquations {
  Matrix6d hessian = Matrix6d::Zero();
  Vector6d gradient = Vector6d::Zero();
};

class Objective {
 public:
  // Keeps a reference to the observations.
  Objective(const Observations& observations, Loss loss, const ceres::LossFunction& rho);

  // False, and cost infinite, when a landmark is not in front of a view's source.
  bool evaluate(const Pose& world_from_bone);

  double cost() const { return cost_; }
  const Vector6d& gradient() const { return total_.gradient; }
  const Matrix6d& hessian() const { return total_.hessian; }

  // Of the last pose: one list of blocks per view.
  const std::vector<std::vector<ProjectedBlock>>& projected() const { return projected_; }

 private:
  const Observations& observations_;
  Loss loss_;
  const ceres::LossFunction& rho_;
  std::vector<std::vector<ProjectedBlock>> projected_;
  double cost_ = 0;
  NormalEquations total_;
};

// Sums J^T W J and -J^T W r of one view at a pose, from what was projected there.
NormalEquations normal_equations(const ViewObservations& view, const std::vector<ProjectedBlock>& projected,
                                 const Eigen::Matrix3d& rotation);

}  // namespace fluoropose
