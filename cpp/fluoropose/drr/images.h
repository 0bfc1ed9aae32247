#pragma once

#include <cstdint>

namespace fluoropose {

// Where a rendering goes: each (height, width), row by row. The two of the bone are null where no bone is asked for.
struct DrrImages {
  float* line_integral;       // whole volume, dimensionless
  float* bone_line_integral;  // bone alone
  std::uint8_t* mask;         // 1 where a ray crosses a voxel of the bone
};

}  // namespace fluoropose
