// What the two halves of the renderer's bindings share: bind_drr.cc is for NumPy's arrays, bind_drr_tensors.cc for
// tensors where they lie.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "bindings.h"
#include "fluoropose/drr/label_renderer.h"
#include "fluoropose/drr/renderer.h"

// Voxels along z, y, x. Throws ValueError that names the argument.
inline std::array<int, 3> sides(const std::vector<std::int64_t>& shape, const char* name) {
  if (shape.size() != 3) throw py::value_error(std::string(name) + ": expected shape (nz, ny, nx)");
  std::array<int, 3> sides{};
  for (std::size_t axis = 0; axis < 3; ++axis) {
    if (shape[axis] > (1 << 30)) throw py::value_error(std::string(name) + ": a side is too long");
    sides[axis] = static_cast<int>(shape[axis]);
  }
  return sides;
}

// (n, height, width) of at least one view, all of one size. Throws ValueError otherwise.
inline std::vector<std::int64_t> images_shape(const std::vector<fluoropose::View>& views) {
  if (views.empty()) throw py::value_error("views: expected at least one");
  const fluoropose::View& first = views[0];
  for (const fluoropose::View& view : views) {
    if (view.width != first.width || view.height != first.height) {
      throw py::value_error("views: expected one size of image");
    }
  }
  return {static_cast<std::int64_t>(views.size()), first.height, first.width};
}

// Throws ValueError for a name that no method has.
inline fluoropose::Method method_called(const std::string& name) {
  if (name == "ray_cast") return fluoropose::Method::kRayCast;
  if (name == "shear_warp") return fluoropose::Method::kShearWarp;
  if (name == "trilinear") return fluoropose::Method::kTrilinear;
  throw py::value_error("method: expected \"ray_cast\", \"shear_warp\" or \"trilinear\", found \"" + name + "\"");
}

// Adds the methods that work on tensors.
void bind_drr_tensors(py::class_<fluoropose::Renderer>& renderer, py::class_<fluoropose::LabelRenderer>& labels);
