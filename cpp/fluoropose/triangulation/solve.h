// Minimisation of the cost from one starting pose.
#pragma once

#include "fluoropose/triangulation/objective.h"

namespace fluoropose {

struct Solution {
  Pose world_from_bone;
  double cost;     // infinite when, at the start, a landmark is behind a source: then nothing was done
  bool converged;  // the first-order conditions hold
};

// Levenberg-Marquardt (ceres::TinySolver) from start, until a step gains less than `tolerance` of the cost at the
// start. length_mm makes rotations and translations comparable: the typical distance of the landmarks from the bone's
// origin. The objective is left evaluated at the solution.
Solution minimise(Objective& objective, const Pose& start, double length_mm, double tolerance);

}  // namespace fluoropose
