#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "fluoropose/core/macros.h"

namespace fluoropose {

// Where a rendering goes: each (height, width), row by row. The two of the bone are null where no bone is asked for.
struct DrrImages {
  float* line_integral;       // whole volume, dimensionless
  float* bone_line_integral;  // bone alone
  std::uint8_t* mask;         // 1 where a ray crosses a voxel of the bone
};

// Images of n views, one after the other.
FLUOROPOSE_HD DrrImages images_at(const DrrImages& first, std::size_t pixels) {
  return {first.line_integral + pixels, first.bone_line_integral ? first.bone_line_integral + pixels : nullptr,
          first.mask ? first.mask + pixels : nullptr};
}

// One row of an image with the derivative of its pixels: line (width) and its derivative (width) for each of the six
// pose parameters, omega x, y, z per radian and v x, y, z per mm.
struct JacobianRow {
  int v;  // which row
  const float* line;
  const float* pose[6];
};

// Takes the rows as they are finished, in any order, each on the thread that made it.
using JacobianSink = std::function<void(const JacobianRow&)>;

}  // namespace fluoropose
