#include "fluoropose/refinement/levenberg.h"

#include <omp.h>

#include <Eigen/Dense>
#include <Eigen/Geometry>
#include <algorithm>
#include <cmath>
#include <exception>
#include <functional>

#include "fluoropose/drr/jacobian_sinks.h"
#include "fluoropose/refinement/tone.h"

namespace fluoropose {
namespace {

// What the views' images and their derivatives lie in, of each view; kept from step to step.
using Memory = std::vector<std::vector<float>>;

using Vector6 = Eigen::Matrix<double, 6, 1>;
using Matrix6 = Eigen::Matrix<double, 6, 6, Eigen::RowMajor>;

constexpr double kMostDamping = 1e4;
// J^T J is the curvature where all that differs is the pose. Where the images differ in more, the true one is about NCC
// times as strong. Once steps are short, the change of the gradient along the last one tells better (Oren and
// Luenberger, Manage. Sci. 1974); further from the goal than edges are wide it tells of too little.
constexpr double kLeastSizing = 0.15, kMostSizing = 1.5, kShort = 1.0;  // px
constexpr double kFinest = 1.1;  // voxels up to this many pixels large are fine enough

// Turned by step[0..2] (rad, world axes) about the bone's origin and shifted by step[3..5] mm.
Affine3<double> moved(const Affine3<double>& pose, const Vector6& step) {
  Eigen::Matrix3d rotation;
  rotation << pose.row0.x, pose.row0.y, pose.row0.z, pose.row1.x, pose.row1.y, pose.row1.z, pose.row2.x, pose.row2.y,
      pose.row2.z;
  const Eigen::Vector3d omega = step.head<3>();
  const double angle = omega.norm();
  const Eigen::AngleAxisd turn(angle, angle > 0 ? Eigen::Vector3d(omega / angle) : Eigen::Vector3d::UnitX());
  // Through a quaternion, which takes away what rounding has added to the rotation.
  const Eigen::Matrix3d r =
      Eigen::Quaterniond(Eigen::Quaterniond(turn) * Eigen::Quaterniond(rotation)).normalized().toRotationMatrix();
  return {{r(0, 0), r(0, 1), r(0, 2)},
          {r(1, 0), r(1, 1), r(1, 2)},
          {r(2, 0), r(2, 1), r(2, 2)},
          pose.offset + Vec3<double>{step[3], step[4], step[5]}};
}

double motion_px(const LevenbergSettings& s, const Vector6& step) {
  return std::hypot(step.head<3>().norm() * s.radius_mm, step.tail<3>().norm()) / s.pixel_mm;
}

Vector6 damped_step(const NormalStep& here, double sizing, double damping, const LevenbergSettings& settings) {
  Matrix6 jtj = sizing * Eigen::Map<const Matrix6>(&here.jtj[0][0]);
  const Vector6 diagonal = jtj.diagonal();
  jtj.diagonal() += damping * diagonal.cwiseMax(1e-9 * diagonal.maxCoeff() + 1e-30);
  const Vector6 step = jtj.partialPivLu().solve(-Eigen::Map<const Vector6>(here.jtr));
  return step / std::max(motion_px(settings, step) / settings.reach_px, 1.0);
}

double along(const NormalStep& here, const Vector6& step) { return step.dot(Eigen::Map<const Vector6>(here.jtr)); }

double bend(const NormalStep& here, const Vector6& step) {
  return step.dot(Eigen::Map<const Matrix6>(&here.jtj[0][0]) * step);
}

double sized(double sizing) { return std::clamp(sizing, kLeastSizing, kMostSizing); }

// As many threads as there is work for; exceptions must not leave a parallel region. Within one, the renderer's own
// loops stay on their thread.
template <typename Work>
void for_each(std::size_t count, const Work& work) {
  const int n = static_cast<int>(count), threads = std::min(n, omp_get_max_threads());
  // One piece of work has all threads to itself. A parallel region of one thread would not do: GCC's library starts new
  // threads for every region within another.
  if (threads == 1 || omp_in_parallel()) {
    for (std::size_t i = 0; i < count; ++i) work(i);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int i = 0; i < n; ++i) {
    try {
      work(static_cast<std::size_t>(i));
    } catch (...) {
#pragma omp critical(fluoropose_refinement)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// The mean over the views of their normal equations by (omega, v), see PoseDerivative.
NormalStep compare(const std::vector<ComparedView>& views, const Affine3<double>& world_from_bone, Memory& memory) {
  memory.resize(views.size());
  std::vector<NormalStep> steps(views.size());
  for_each(views.size(), [&](std::size_t i) { steps[i] = views[i].step(world_from_bone, memory[i]); });
  NormalStep mean{};
  const double share = 1.0 / static_cast<double>(views.size());
  for (const NormalStep& one : steps) {
    mean.value += share * one.value;
    for (int i = 0; i < 6; ++i) {
      mean.jtr[i] += share * one.jtr[i];
      for (int j = 0; j < 6; ++j) mean.jtj[i][j] += share * one.jtj[i][j];
    }
  }
  return mean;
}

LevenbergResult climb_one(const std::vector<ComparedView>& views, const Affine3<double>& start,
                          const LevenbergSettings& settings) {
  Memory memory;
  LevenbergResult best{start, compare(views, start, memory), 0, false};
  if (!std::isfinite(best.step.value)) return best;
  double damping = settings.damping, sizing = sized(best.step.value);
  while (best.tried < settings.iterations && damping < kMostDamping) {
    const Vector6 step = damped_step(best.step, sizing, damping, settings);
    if (motion_px(settings, step) < settings.tolerance_px) {
      best.converged = true;
      break;
    }
    ++best.tried;
    const Affine3<double> pose = moved(best.world_from_bone, step);
    const NormalStep there = compare(views, pose, memory);
    const double bent = std::max(bend(best.step, step), 1e-30);
    const bool tells = motion_px(settings, step) < kShort && std::isfinite(there.value);
    const double told = (along(there, step) - along(best.step, step)) / bent;
    if (there.value > best.step.value) {
      const double predicted = -along(best.step, step) - 0.5 * sizing * bent;
      const double gained = (there.value - best.step.value) / std::max(predicted, 1e-30);
      damping = gained > 0.25 ? std::max(damping / 5, 1e-6) : 2 * damping;
      best.world_from_bone = pose, best.step = there;
    } else {
      damping *= 8;
    }
    sizing = sized(tells ? told : best.step.value);
  }
  return best;
}

}  // namespace

const Renderer& ComparedView::renderer(const Affine3<double>& world_from_bone) const {
  double pixel_mm = std::max(norm(view.u_step), norm(view.v_step));
  if (view.beam == Beam::kPoint) {
    const Vec3<double> across = cross(view.u_step, view.v_step);
    const double depth = std::abs(dot(world_from_bone.offset - view.source, across));
    pixel_mm *= depth / std::abs(dot(view.origin - view.source, across));
  }
  std::size_t fitting = 0;
  for (std::size_t k = 0; k < renderers.size(); ++k) {
    if (spacings_mm[k] <= kFinest * pixel_mm) fitting = k;
  }
  return *renderers[fitting];
}

NormalStep ComparedView::step(const Affine3<double>& world_from_bone, std::vector<float>& memory) const {
  const std::size_t size = static_cast<std::size_t>(view.width) * view.height;
  memory.resize(7 * size);
  float *line = memory.data(), *jacobian = line + size;
  const JacobianSink plain = store_jacobian(view.width, view.height, line, jacobian);
  const auto veiled = [&](const JacobianRow& row) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(row.v) * view.width;
    std::vector<float> slope(static_cast<std::size_t>(view.width));
    show(row.line, view.width, veil, line + at, slope.data());
    for (std::size_t k = 0; k < 6; ++k) {
      std::transform(slope.begin(), slope.end(), row.pose[k], jacobian + k * size + at, std::multiplies<>());
    }
  };
  renderer(world_from_bone).render_jacobian(view, world_from_bone, veil > 0 ? JacobianSink(veiled) : plain);
  return similarity->step(line, jacobian);
}

std::vector<LevenbergResult> climb(const std::vector<ComparedView>& views, const std::vector<Affine3<double>>& starts,
                                   const LevenbergSettings& settings) {
  std::vector<LevenbergResult> results(starts.size());
  for_each(starts.size(), [&](std::size_t i) { results[i] = climb_one(views, starts[i], settings); });
  return results;
}

}  // namespace fluoropose
