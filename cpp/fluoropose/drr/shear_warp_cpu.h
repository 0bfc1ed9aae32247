#pragma once

#include "fluoropose/core/cpu_level.h"
#include "fluoropose/drr/images.h"
#include "fluoropose/drr/shear_warp.h"

namespace fluoropose {

// Fills the images of out that are not null, each (height, width), with all threads of OpenMP.
void shear_warp_cpu(const Grid& grid, const ShearPlan& plan, int width, int height, const DrrImages& out,
                    CpuLevel level = cpu_level());

}  // namespace fluoropose
