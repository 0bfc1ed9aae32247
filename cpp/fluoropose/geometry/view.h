// One X-ray source and its flat image plane. World coordinates in mm; pixels (u right, v down), centre of the first
// pixel at (0, 0). The ideal, undistorted image: distortion lives beside the view, not in it.
#pragma once

#include "fluoropose/core/vec.h"

namespace fluoropose {

enum class Beam { kPoint, kParallel };

struct View {
  int width, height;            // px
  Vec3<double> origin;          // mm, world: centre of pixel (0, 0) on the image plane
  Vec3<double> u_step, v_step;  // mm per px, world: one pixel to the right, one pixel down
  Vec3<double> source;  // kPoint: the source, mm, world. kParallel: unit direction of the beam, towards the plane
  Beam beam;

  FLUOROPOSE_HD Vec3<double> pixel_centre(double u, double v) const { return origin + u_step * u + v_step * v; }
};

// Throws std::invalid_argument, naming the field, unless all numbers are finite, the size positive, the steps
// independent and the source off the plane (or the beam not parallel to it).
void validate(const View& view);

}  // namespace fluoropose
