#include "bindings.h"
#include "fluoropose/distortion/distortion.h"

namespace {

using fluoropose::Distortion;
using fluoropose::PlanePolynomial;
using fluoropose::Vec2;

// coefficients: (2, terms) px, rows u and v.
PlanePolynomial make_polynomial(int order, const DoubleArray& centre, double radius, const DoubleArray& coefficients) {
  if (centre.ndim() != 1 || centre.shape(0) != 2) throw py::value_error("centre: expected shape (2,)");
  if (coefficients.ndim() != 2 || coefficients.shape(0) != 2)
    throw py::value_error("coefficients: expected shape (2, n)");
  const double* c = coefficients.data();
  const py::ssize_t n = coefficients.shape(1);
  PlanePolynomial polynomial{order, {centre.at(0), centre.at(1)}, radius, {c, c + n}, {c + n, c + 2 * n}};
  fluoropose::validate(polynomial);
  return polynomial;
}

// points: (n, 2) px -> (n, 2) px, in parallel and without the GIL.
template <typename Map>
py::array_t<double> map_points(const DoubleArray& points, const Map& map) {
  if (points.ndim() != 2 || points.shape(1) != 2) throw py::value_error("points: expected shape (n, 2)");
  const py::ssize_t n = points.shape(0);
  py::array_t<double> result({n, py::ssize_t{2}});
  const double* in = points.data();
  double* out = result.mutable_data();
  {
    const py::gil_scoped_release release;
#pragma omp parallel for schedule(static) if (n > 4096)
    for (py::ssize_t i = 0; i < n; ++i) {
      const Vec2<double> p = map(Vec2<double>{in[2 * i], in[2 * i + 1]});
      out[2 * i] = p.x;
      out[2 * i + 1] = p.y;
    }
  }
  return result;
}

}  // namespace

void bind_distortion(py::module_& m) {
  m.attr("max_polynomial_order") = fluoropose::kMaxPolynomialOrder;
  py::class_<PlanePolynomial>(m, "PlanePolynomial", "A smooth map of the image plane; see fluoropose.distortion.")
      .def(py::init(&make_polynomial), py::arg("order"), py::arg("centre"), py::arg("radius"), py::arg("coefficients"))
      .def(
          "__call__", [](const PlanePolynomial& p, const DoubleArray& points) { return map_points(points, p); },
          py::arg("points"));
  py::class_<Distortion>(m, "Distortion", "Both directions of a distortion; see fluoropose.distortion.Distortion.")
      .def(py::init<PlanePolynomial, PlanePolynomial>(), py::arg("ideal_from_recorded"), py::arg("recorded_from_ideal"))
      .def(
          "ideal_from_recorded",
          [](const Distortion& d, const DoubleArray& points) {
            return map_points(points, [&d](const Vec2<double>& p) { return d.ideal_from_recorded(p); });
          },
          py::arg("points"))
      .def(
          "recorded_from_ideal",
          [](const Distortion& d, const DoubleArray& points) {
            return map_points(points, [&d](const Vec2<double>& p) { return d.recorded_from_ideal(p); });
          },
          py::arg("points"));
}
