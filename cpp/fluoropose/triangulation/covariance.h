// How well the observations determine a pose.
#pragma once

#include <optional>

#include "fluoropose/triangulation/objective.h"

namespace fluoropose {

// Covariance of (omega, v), radians and mm in world axes, at a minimum of the objective, which must have been evaluated
// there last. Each view's noise variance is estimated from its own residuals, less the degrees of freedom that the pose
// takes from it, because Eq. 2 weighs views by their residuals and its estimate is not the least-squares one:
// C = H^-1 (sum_k sigma_k^2 B_k) H^-1, H = sum w J^T J over all observations, B_k = sum w^2 / prior J^T J over view k.
// None without more observations than unknowns, or where a motion is not observable.
std::optional<Matrix6d> covariance(const Objective& objective, const Eigen::Matrix3d& rotation);

}  // namespace fluoropose
