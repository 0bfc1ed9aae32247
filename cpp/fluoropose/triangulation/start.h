// Where the search for a pose begins.
#pragma once

#include <vector>

#include "fluoropose/triangulation/observations.h"

namespace fluoropose {

// The start of Zhou et al. 2021: no rotation, and the mean of all sources and image-plane centres as translation. A
// parallel beam has no source; it adds its plane's centre only.
Pose neutral_start(const std::vector<View>& views);

// Starts in closed form, without any assumption on the pose. Landmarks that two or more views observe are triangulated
// linearly and the bone is laid onto them (Kabsch); where fewer than three are shared, the view with the most
// observations is solved as a scaled orthographic one, whose two solutions for a flat set of landmarks are both given.
// Empty when the observations do not determine a pose.
std::vector<Pose> closed_form_starts(const Observations& observations);

}  // namespace fluoropose
