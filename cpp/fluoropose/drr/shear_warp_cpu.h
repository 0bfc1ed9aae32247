#pragma once

#include "fluoropose/drr/renderer.h"
#include "fluoropose/drr/shear_warp.h"

namespace fluoropose {

// Fills the images of out that are not null, each (height, width), with all threads of OpenMP.
void shear_warp_cpu(const Grid& grid, const ShearPlan& plan, int width, int height, const DrrImages& out);

}  // namespace fluoropose
