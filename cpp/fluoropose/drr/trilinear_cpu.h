#pragma once

#include "fluoropose/drr/images.h"
#include "fluoropose/drr/trilinear.h"
#include "fluoropose/volume/grid.h"

namespace fluoropose {

// As ray_cast_cpu() and ray_cast_jacobian_cpu(); frame: of axis z.
template <typename Voxel>
void trilinear_cpu(const Grid<Voxel>& grid, const VoxelView& view, const DrrImages& out);
template <typename Voxel>
void trilinear_jacobian_cpu(const Grid<Voxel>& grid, const VoxelView& view, const PoseFrame& frame,
                            const JacobianSink& sink);

}  // namespace fluoropose
