// Minimisation of the cost from one starting pose.
#pragma once

#include "fluoropose/triangulation/objective.h"

namespace fluoropose {

struct Solution {
  Pose world_from_bone;
  double cost;
  bool started;    // false: at the start a landmark is behind a source, and nothing was done
  bool converged;  // the first-order conditions hold
  int iterations;
};

// Levenberg-Marquardt (ceres::TinySolver) from start. length_mm makes rotations and translations comparable: the
// typical distance of the landmarks from the bone's origin.
Solution minimise(Objective& objective, const Pose& start, double length_mm);

}  // namespace fluoropose
