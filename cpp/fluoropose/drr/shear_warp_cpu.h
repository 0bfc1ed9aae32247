#pragma once

#include "fluoropose/core/cpu_level.h"
#include "fluoropose/drr/images.h"
#include "fluoropose/drr/shear_warp.h"

namespace fluoropose {

// slabs: across the plan's axis. Fills the images of out that are not null, each (height, width), with all threads of
// OpenMP.
template <typename Voxel>
void shear_warp_cpu(const Slabs<Voxel>& slabs, const ShearPlan& plan, int width, int height, const DrrImages& out,
                    CpuLevel level = cpu_level());

// Hands the image and its derivative to sink, row by row. frame: of the plan's slice axis.
template <typename Voxel>
void shear_warp_jacobian_cpu(const Slabs<Voxel>& slabs, const ShearPlan& plan, const PoseFrame& frame, int width,
                             int height, const JacobianSink& sink, CpuLevel level = cpu_level());

}  // namespace fluoropose
