#include "bindings.h"
#include "fluoropose/geometry/view.h"

namespace {

using fluoropose::Beam;
using fluoropose::Vec3;
using fluoropose::View;

Vec3<double> to_vec3(const DoubleArray& a, const char* name) {
  if (a.ndim() != 1 || a.shape(0) != 3) throw py::value_error(std::string(name) + ": expected shape (3,)");
  return {a.at(0), a.at(1), a.at(2)};
}

View make_view(int width, int height, const DoubleArray& origin, const DoubleArray& u_step, const DoubleArray& v_step,
               const DoubleArray& source, bool parallel) {
  const View view{width,
                  height,
                  to_vec3(origin, "origin"),
                  to_vec3(u_step, "u_step"),
                  to_vec3(v_step, "v_step"),
                  to_vec3(source, "source"),
                  parallel ? Beam::kParallel : Beam::kPoint};
  fluoropose::validate(view);
  return view;
}

}  // namespace

void bind_geometry(py::module_& m) {
  py::class_<View>(m, "View", "Plain view geometry handed to the compiled core; see fluoropose.geometry.View.")
      .def(py::init(&make_view), py::arg("width"), py::arg("height"), py::arg("origin"), py::arg("u_step"),
           py::arg("v_step"), py::arg("source"), py::arg("parallel"))
      .def_readonly("width", &View::width)
      .def_readonly("height", &View::height);
}
