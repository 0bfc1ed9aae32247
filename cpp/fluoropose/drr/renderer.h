// Digitally reconstructed radiographs: validates, then hands the work to a method on a device.
#pragma once

#include <cstdint>

#include "fluoropose/geometry/view.h"
#include "fluoropose/volume/grid.h"

namespace fluoropose {

enum class Method { kRayCast, kShearWarp };

// Where a rendering goes: each (height, width), row by row. The two of the bone are null where no bone is asked for.
struct DrrImages {
  float* line_integral;       // whole volume, dimensionless
  float* bone_line_integral;  // bone alone
  std::uint8_t* mask;         // 1 where a ray crosses a voxel of the bone
};

class Renderer {
 public:
  // mu, bone, nx, ny, nz, bone_from_voxel: see Grid.
  Renderer(const float* mu, const std::uint8_t* bone, int nx, int ny, int nz, const Affine3<double>& bone_from_voxel,
           Method method)
      : grid_(mu, bone, nx, ny, nz, bone_from_voxel), method_(method) {}

  bool has_bone() const { return grid_.has_bone(); }

  // world_from_bone: rigid. Throws std::invalid_argument, naming the argument, for a bad view or a pose that is not
  // rigid. Shear-warp gives way to ray casting where plan_shear() says that it must.
  void render(const View& view, const Affine3<double>& world_from_bone, const DrrImages& out) const;

 private:
  Grid grid_;
  Method method_;
};

}  // namespace fluoropose
