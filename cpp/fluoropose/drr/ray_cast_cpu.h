#pragma once

#include "fluoropose/drr/ray_cast.h"
#include "fluoropose/drr/renderer.h"

namespace fluoropose {

// Fills the images of out that are not null, each (height, width), with all threads of OpenMP.
void ray_cast_cpu(const GridView& grid, const VoxelView& view, int width, int height, const DrrImages& out);

}  // namespace fluoropose
