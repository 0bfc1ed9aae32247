#include "bindings.h"
#include "fluoropose/triangulation/triangulate.h"

namespace {

using fluoropose::Loss;
using fluoropose::Pose;
using fluoropose::Triangulation;
using fluoropose::TriangulationStatus;
using fluoropose::View;
using BoolArray = py::array_t<bool, py::array::c_style | py::array::forcecast>;
using IntArray = py::array_t<int, py::array::c_style | py::array::forcecast>;

void require_shape(const py::array& a, const std::vector<py::ssize_t>& shape, const char* name) {
  if (std::vector<py::ssize_t>(a.shape(), a.shape() + a.ndim()) != shape) {
    throw py::value_error(std::string(name) + ": wrong shape");
  }
}

Pose to_pose(const DoubleArray& matrix, const char* name) {
  require_shape(matrix, {4, 4}, name);
  Pose pose;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) pose.rotation(i, j) = matrix.at(i, j);
    pose.translation[i] = matrix.at(i, 3);
  }
  return pose;
}

py::array_t<double> to_matrix(const Pose& pose) {
  py::array_t<double> matrix({4, 4});
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const double last = i == j ? 1.0 : 0.0;
      matrix.mutable_at(i, j) = i == 3 ? last : j == 3 ? pose.translation[i] : pose.rotation(i, j);
    }
  }
  return matrix;
}

py::object to_covariance(const Triangulation& t) {
  if (!t.covariance) return py::none();
  return py::array_t<double>({6, 6}, t.covariance->data());  // symmetric, so the storage order does not matter
}

Triangulation triangulate(const DoubleArray& landmarks, const IntArray& partner, const DoubleArray& px,
                          const BoolArray& visible, const std::optional<DoubleArray>& weights,
                          const std::vector<View>& views, Loss loss, double loss_scale_mm, bool use_all,
                          const std::optional<DoubleArray>& start) {
  if (landmarks.ndim() != 2) throw py::value_error("landmarks: expected shape (n, 3)");
  const py::ssize_t n = landmarks.shape(0), n_views = static_cast<py::ssize_t>(views.size());
  if (n > (1 << 20)) throw py::value_error("landmarks: too many");
  require_shape(landmarks, {n, 3}, "landmarks");
  require_shape(partner, {n}, "partner");
  require_shape(px, {n_views, n, 2}, "px");
  require_shape(visible, {n_views, n}, "visible");
  if (weights) require_shape(*weights, {n_views, n}, "weights");
  fluoropose::TriangulationOptions options;
  options.loss = loss;
  options.loss_scale_mm = loss_scale_mm;
  options.use_all = use_all;
  if (start) options.start = to_pose(*start, "start");
  const fluoropose::LandmarkSet set{static_cast<int>(n), landmarks.data(), partner.data()};
  const fluoropose::Predictions predictions{px.data(), visible.data(), weights ? weights->data() : nullptr};
  const py::gil_scoped_release release;
  return fluoropose::triangulate(set, predictions, views, options);
}

}  // namespace

void bind_triangulation(py::module_& m) {
  py::enum_<Loss>(m, "Loss")
      .value("norm", Loss::kNorm)
      .value("squared", Loss::kSquared)
      .value("huber", Loss::kHuber)
      .value("cauchy", Loss::kCauchy);
  py::enum_<TriangulationStatus>(m, "TriangulationStatus")
      .value("ok", TriangulationStatus::kOk)
      .value("too_few_points", TriangulationStatus::kTooFewPoints)
      .value("collinear_points", TriangulationStatus::kCollinearPoints)
      .value("behind_source", TriangulationStatus::kBehindSource)
      .value("no_convergence", TriangulationStatus::kNoConvergence);
  py::class_<Triangulation>(m, "Triangulation", "See fluoropose.registration.Registration.")
      .def_readonly("status", &Triangulation::status)
      .def_property_readonly("world_from_bone", [](const Triangulation& t) { return to_matrix(t.world_from_bone); })
      .def_readonly("mirrored", &Triangulation::mirrored)
      .def_property_readonly("costs",
                             [](const Triangulation& t) {
                               return py::array_t<double>(static_cast<py::ssize_t>(t.costs.size()), t.costs.data());
                             })
      .def_readonly("cost", &Triangulation::cost)
      .def_readonly("n_used", &Triangulation::n_used)
      .def_property_readonly("residuals",
                             [](const Triangulation& t) {
                               return py::array_t<double>(static_cast<py::ssize_t>(t.residuals.size()),
                                                          t.residuals.data());
                             })
      .def_property_readonly("covariance", &to_covariance);
  m.def("triangulate", &triangulate, py::arg("landmarks"), py::arg("partner"), py::arg("px"), py::arg("visible"),
        py::arg("weights").none(true), py::arg("views"), py::arg("loss"), py::arg("loss_scale_mm"), py::arg("use_all"),
        py::arg("start").none(true), "See fluoropose.registration.triangulate.");
  m.def(
      "neutral_start", [](const std::vector<View>& views) { return to_matrix(fluoropose::neutral_start(views)); },
      py::arg("views"), "(4, 4) world_from_bone of Zhou et al. 2021's start.");
}
