#include <cstdint>
#include <memory>
#include <tuple>
#include <vector>

#include "bindings.h"
#include "fluoropose/refinement/attenuation.h"
#include "fluoropose/refinement/cuda_climber.h"
#include "fluoropose/refinement/levenberg.h"

namespace {

using fluoropose::Affine3;
using fluoropose::ComparedView;
using fluoropose::CudaClimber;
using fluoropose::GradientCorrelation;
using fluoropose::NormalStep;
using fluoropose::Renderer;
using fluoropose::View;
using FloatArray = py::array_t<float, py::array::c_style>;

void require_shape(const FloatArray& image, const GradientCorrelation& like, const char* name) {
  if (image.ndim() != 2 || image.shape(0) != like.height() || image.shape(1) != like.width()) {
    throw py::value_error(std::string(name) + ": expected the shape of the fixed image");
  }
}

GradientCorrelation make_correlation(const FloatArray& fixed, const FloatArray& weights, std::vector<float> smooth,
                                     std::vector<float> slope, int tile_px) {
  if (fixed.ndim() != 2 || weights.ndim() != 2 || fixed.shape(0) != weights.shape(0) ||
      fixed.shape(1) != weights.shape(1)) {
    throw py::value_error("fixed, weights: expected one shape (height, width)");
  }
  if (smooth.size() != slope.size() || smooth.size() % 2 == 0) {
    throw py::value_error("smooth, slope: expected kernels of one odd length");
  }
  return {fixed.data(),
          weights.data(),
          static_cast<int>(fixed.shape(1)),
          static_cast<int>(fixed.shape(0)),
          std::move(smooth),
          std::move(slope),
          tile_px};
}

using StepTuple = std::tuple<double, py::array_t<double>, py::array_t<double>>;

StepTuple as_tuple(const NormalStep& step) {
  py::array_t<double> jtj({6, 6}), jtr(6);
  for (int i = 0; i < 6; ++i) {
    jtr.mutable_at(i) = step.jtr[i];
    for (int j = 0; j < 6; ++j) jtj.mutable_at(i, j) = step.jtj[i][j];
  }
  return {step.value, jtj, jtr};
}

StepTuple correlation_step(const GradientCorrelation& self, const FloatArray& moving, const FloatArray& jacobian) {
  require_shape(moving, self, "moving");
  if (jacobian.ndim() != 3 || jacobian.shape(0) != 6 || jacobian.shape(1) != self.height() ||
      jacobian.shape(2) != self.width()) {
    throw py::value_error("jacobian: expected shape (6, height, width)");
  }
  return as_tuple(self.step(moving.data(), jacobian.data()));
}

double correlation_value(const GradientCorrelation& self, const FloatArray& moving) {
  require_shape(moving, self, "moving");
  return self.value(moving.data());
}

int best_veil(const GradientCorrelation& self, const FloatArray& moving, const std::vector<float>& veils) {
  require_shape(moving, self, "moving");
  return self.best_veil(moving.data(), veils);
}

ComparedView make_view(const View& view, const GradientCorrelation& similarity, float veil,
                       std::vector<const Renderer*> renderers, std::vector<double> spacings_mm) {
  if (renderers.empty() || renderers.size() != spacings_mm.size()) {
    throw py::value_error("renderers, spacings_mm: expected as many of both, at least one");
  }
  if (view.width != similarity.width() || view.height != similarity.height()) {
    throw py::value_error("view: expected the size of the fixed image");
  }
  return {view, &similarity, veil, std::move(renderers), std::move(spacings_mm)};
}

py::array_t<double> matrix_of(const Affine3<double>& m) {
  py::array_t<double> out({4, 4});
  const fluoropose::Vec3<double> rows[3] = {m.row0, m.row1, m.row2};
  const double offset[3] = {m.offset.x, m.offset.y, m.offset.z};
  for (int i = 0; i < 3; ++i) {
    out.mutable_at(i, 0) = rows[i].x, out.mutable_at(i, 1) = rows[i].y, out.mutable_at(i, 2) = rows[i].z;
    out.mutable_at(i, 3) = offset[i];
    out.mutable_at(3, i) = 0.0;
  }
  out.mutable_at(3, 3) = 1.0;
  return out;
}

using Climbed = std::tuple<py::array_t<double>, double, py::array_t<double>, py::array_t<double>, double, int, bool,
                           std::vector<double>>;

using Views = std::vector<ComparedView>;
using Poses = std::vector<Affine3<double>>;
using Settings = fluoropose::LevenbergSettings;

// Of every start: the pose (4, 4), value, J^T J, J^T r, value at the start, steps tried, whether it converged, the
// views' values or nothing. run: climbs.
template <typename Run>
std::vector<Climbed> climb_by(const Run& run, const std::vector<const ComparedView*>& views,
                              const std::vector<DoubleArray>& starts, const Settings& settings) {
  if (views.empty()) throw py::value_error("views: expected at least one");
  Views copies;
  for (const ComparedView* view : views) copies.push_back(*view);
  Poses poses;
  for (const DoubleArray& start : starts) poses.push_back(to_affine(start, "starts"));
  std::vector<fluoropose::LevenbergResult> results;
  {
    const py::gil_scoped_release release;
    results = run(copies, poses, settings);
  }
  std::vector<Climbed> climbed;
  for (const auto& one : results) {
    const auto [value, jtj, jtr] = as_tuple(one.step);
    climbed.emplace_back(matrix_of(one.world_from_bone), value, jtj, jtr, one.at_start, one.tried, one.converged,
                         one.by_view);
  }
  return climbed;
}

std::vector<Climbed> climb(const std::vector<const ComparedView*>& views, const std::vector<DoubleArray>& starts,
                           int iterations, double tolerance_px, double damping, double reach_px, double radius_mm,
                           double pixel_mm) {
  return climb_by(fluoropose::climb, views, starts, {iterations, tolerance_px, damping, reach_px, radius_mm, pixel_mm});
}

std::vector<Climbed> climb_there(const CudaClimber& self, const std::vector<const ComparedView*>& views,
                                 const std::vector<DoubleArray>& starts, int iterations, double tolerance_px,
                                 double damping, double reach_px, double radius_mm, double pixel_mm) {
  const auto run = [&](const Views& all, const Poses& poses, const Settings& settings) {
    return self.climb(all, poses, settings);
  };
  return climb_by(run, views, starts, {iterations, tolerance_px, damping, reach_px, radius_mm, pixel_mm});
}

template <typename Stored>
py::array_t<float> mean_attenuation(const py::array_t<Stored>& pixels, int block, float first, float step,
                                    float least) {
  constexpr auto kSize = static_cast<py::ssize_t>(sizeof(Stored));
  if (pixels.ndim() != 2 || pixels.strides(1) != kSize || pixels.strides(0) % kSize != 0) {
    throw py::value_error("pixels: expected rows (height, width), each without gaps");
  }
  if (block < 1 || pixels.shape(0) % block != 0 || pixels.shape(1) % block != 0) {
    throw py::value_error("block: expected one that divides both sides of pixels");
  }
  if (!(least > 0.0f && least <= 1.0f)) throw py::value_error("least: expected above 0 and at most 1");
  const int rows = static_cast<int>(pixels.shape(0)) / block, columns = static_cast<int>(pixels.shape(1)) / block;
  py::array_t<float> means({rows, columns});
  float* out = means.mutable_data();
  {
    const py::gil_scoped_release release;
    fluoropose::mean_attenuation(pixels.data(), pixels.strides(0) / kSize, rows, columns, block, {first, step, least},
                                 out);
  }
  return means;
}

template <typename Stored>
void bind_mean_attenuation(py::module_& m) {
  m.def("mean_attenuation", &mean_attenuation<Stored>, py::arg("pixels").noconvert(), py::arg("block"),
        py::arg("first"), py::arg("step"), py::arg("least"),
        "-log of a stored frame's signal, first + step * number but no less than least: means over blocks of pixels.");
}

}  // namespace

void bind_refinement(py::module_& m) {
  bind_mean_attenuation<std::uint8_t>(m);
  bind_mean_attenuation<std::uint16_t>(m);
  bind_mean_attenuation<float>(m);
  py::class_<GradientCorrelation>(m, "GradientCorrelation", "See fluoropose.refinement.GradientCorrelation.")
      .def(py::init(&make_correlation), py::arg("fixed"), py::arg("weights"), py::arg("smooth"), py::arg("slope"),
           py::arg("tile_px"))
      .def("value", &correlation_value, py::arg("moving"))
      .def("step", &correlation_step, py::arg("moving"), py::arg("jacobian"))
      .def("best_veil", &best_veil, py::arg("moving"), py::arg("veils"))
      .def_property_readonly("counted", &GradientCorrelation::counted);
  py::class_<ComparedView>(m, "ComparedView", "One view's fixed image and what is compared with it.")
      .def(py::init(&make_view), py::arg("view"), py::arg("similarity"), py::arg("veil"), py::arg("renderers"),
           py::arg("spacings_mm"), py::keep_alive<1, 3>(), py::keep_alive<1, 5>());
  m.def("climb", &climb, py::arg("views"), py::arg("starts"), py::arg("iterations"), py::arg("tolerance_px"),
        py::arg("damping"), py::arg("reach_px"), py::arg("radius_mm"), py::arg("pixel_mm"),
        "Levenberg and Marquardt's method from each of the starts; see fluoropose.refinement.LevenbergMarquardt.");
  py::class_<CudaClimber>(m, "CudaClimber", "Climbs as climb() does, on a CUDA device; keeps the memory it needs.")
      .def(py::init<int>(), py::arg("device"))
      .def("climb", &climb_there, py::arg("views"), py::arg("starts"), py::arg("iterations"), py::arg("tolerance_px"),
           py::arg("damping"), py::arg("reach_px"), py::arg("radius_mm"), py::arg("pixel_mm"));
}
