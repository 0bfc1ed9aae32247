// The hot loop of shear-warp on the CPU: slices summed into a band of rows of the intermediate image. Because a slice
// is seen through a similarity, the bilinear weights separate: two voxel rows are blended into one, which is then read
// at evenly spaced positions. Rows are skipped where they are air.
#pragma once

#include "fluoropose/drr/shear_warp.h"

namespace fluoropose {

// Rows of the intermediate image, counted in samples; kPad elements behind a row may be written.
struct ShearRows {
  static constexpr int kPad = 16;
  float* line;
  float* bone;          // null where no bone is asked for
  float* nearest_bone;  // null likewise
  int stride;           // elements from row to row
};

// Adds all slices to rows j0 .. j1 - 1. scratch: shear_scratch_size() floats.
void shear_rows(const SliceRows& rows, const ShearPlan& plan, int j0, int j1, const ShearRows& out, float* scratch);

std::size_t shear_scratch_size(const SliceRows& rows, const ShearPlan& plan);

}  // namespace fluoropose
