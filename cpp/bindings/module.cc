#include "bindings.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled core of fluoropose: rendering, distortion and triangulation.";
  m.attr("__version__") = FLUOROPOSE_VERSION;
  bind_distortion(m);
  bind_drr(m);
  bind_geometry(m);
}
