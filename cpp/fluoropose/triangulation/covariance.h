// How well the observations determine a pose.
#pragma once

#include <optional>

#include "fluoropose/triangulation/objective.h"

namespace fluoropose {

// Covariance of (omega, v), radians and mm in world axes, of the pose that minimises the loss over the observations.
// With A_k = sum J^T J over view k,
//
//   C = (sum a_k A_k)^-1 (sum b_k A_k) (sum a_k A_k)^-1,
//
// a_k the mean slope of the loss's gradient and b_k the variance of that gradient, both from view k's own residuals
// (less the degrees of freedom that the pose takes from the view). For the squared form this is the residual variance
// times (J^T J)^-1; Eq. 2 weighs views by their residuals and is not the least-squares estimate, so its covariance
// needs both. None without more observations than unknowns, or where a motion is not observable.
std::optional<Matrix6d> covariance(const Observations& observations, const Pose& world_from_bone, Loss loss,
                                   const ceres::LossFunction& rho);

}  // namespace fluoropose
