#include "bindings.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled core of fluoropose: rendering, distortion, triangulation and refinement.";
  m.attr("__version__") = FLUOROPOSE_VERSION;
  // The view comes first, because the signatures of the others name it.
  bind_geometry(m);
  bind_distortion(m);
  bind_drr(m);
  bind_refinement(m);
  bind_triangulation(m);
}
