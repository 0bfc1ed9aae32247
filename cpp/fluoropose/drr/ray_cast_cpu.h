#pragma once

#include "fluoropose/core/cpu_level.h"
#include "fluoropose/drr/images.h"
#include "fluoropose/drr/pose_jacobian.h"
#include "fluoropose/drr/ray_cast.h"

namespace fluoropose {

// Fills the images of out that are not null, each (view.height, view.width), with all threads of OpenMP.
// level: at most the machine's.
template <typename Voxel>
void ray_cast_cpu(const Grid<Voxel>& grid, const VoxelView& view, const DrrImages& out, CpuLevel level = cpu_level());

// Hands the image and its derivative to sink, row by row. frames: of the three slice axes.
template <typename Voxel>
void ray_cast_jacobian_cpu(const Grid<Voxel>& grid, const VoxelView& view, const PoseFrame frames[3],
                           const JacobianSink& sink, CpuLevel level = cpu_level());

}  // namespace fluoropose
