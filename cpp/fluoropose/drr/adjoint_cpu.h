#pragma once

#include "fluoropose/drr/ray_cast.h"
#include "fluoropose/drr/shear_warp.h"
#include "fluoropose/volume/slabs.h"

namespace fluoropose {

// Add to by_voxel (the grid's voxels, or those of slabs; rim included) the derivative of a cost with respect to mu,
// given its derivative by_pixel (height, width) with respect to the image: the exact transposes of ray_cast_cpu() and
// shear_warp_cpu().
void ray_cast_adjoint_cpu(const Vec3<int>& size, const SliceStrides strides[3], const VoxelView& view,
                          const float* by_pixel, float* by_voxel);
void shear_warp_adjoint_cpu(const Slabs<float>& slabs, const ShearPlan& plan, int width, int height,
                            const float* by_pixel, float* by_voxel);

}  // namespace fluoropose
