// Digitally reconstructed radiographs: validates, then hands the work to a method on a device.
#pragma once

#include <cstdint>
#include <memory>

#include "fluoropose/geometry/view.h"
#include "fluoropose/volume/grid.h"

namespace fluoropose {

// Where a rendering goes: each (height, width), row by row. The two of the bone are null where no bone is asked for.
struct DrrImages {
  float* line_integral;       // whole volume, dimensionless
  float* bone_line_integral;  // bone alone
  std::uint8_t* mask;         // 1 where a ray crosses a voxel of the bone
};

class Renderer {
 public:
  explicit Renderer(Grid grid) : grid_(std::move(grid)) {}

  bool has_bone() const { return grid_.has_bone(); }

  // world_from_bone: rigid. Throws std::invalid_argument, naming the argument, for a bad view or a pose that is not
  // rigid.
  void render(const View& view, const Affine3<double>& world_from_bone, const DrrImages& out) const;

 private:
  Grid grid_;
};

}  // namespace fluoropose
