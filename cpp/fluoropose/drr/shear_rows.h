// The hot loop of shear-warp on the CPU: slices summed into a band of rows of the intermediate image. Because a slice
// is seen through a similarity, the bilinear weights separate: two voxel rows are blended into one, which is then read
// at evenly spaced positions. Rows are skipped where they are air.
#pragma once

#include "fluoropose/core/cpu_level.h"
#include "fluoropose/drr/shear_warp.h"

namespace fluoropose {

// Elements behind a row of the sums that may be written.
constexpr int kShearPad = 16;

// Adds all slices to rows j0 .. j1 - 1, width pixels wide, of the intermediate image. maps: of every slice; scratch:
// shear_scratch_size() floats;
// level: at most the machine's.
template <typename Voxel>
void shear_rows(const Slabs<Voxel>& slabs, const SliceMap* maps, int width, int j0, int j1, const ShearSums& sums,
                float* scratch, CpuLevel level);

std::size_t shear_scratch_size(int row_length, int width);

}  // namespace fluoropose
