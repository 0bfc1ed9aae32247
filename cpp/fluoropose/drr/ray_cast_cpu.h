#pragma once

#include "fluoropose/drr/ray_cast.h"
#include "fluoropose/drr/renderer.h"

namespace fluoropose {

// Fills the images of out that are not null, each (view.height, view.width), with all threads of OpenMP.
void ray_cast_cpu(const Grid& grid, const VoxelView& view, const DrrImages& out);

}  // namespace fluoropose
