// Rigid transforms on the host, named a_from_b: x_a = rotation * x_b + translation.
#pragma once

#include <Eigen/Core>

namespace fluoropose {

struct Pose {
  Eigen::Matrix3d rotation = Eigen::Matrix3d::Identity();
  Eigen::Vector3d translation = Eigen::Vector3d::Zero();  // mm

  Eigen::Vector3d operator*(const Eigen::Vector3d& point) const { return rotation * point + translation; }
};

}  // namespace fluoropose
