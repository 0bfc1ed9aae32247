#include "fluoropose/refinement/levenberg.h"

#include <omp.h>

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

constexpr double kFinest = 1.1;  // voxels up to this many pixels large are fine enough

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

// The normal equations of every view by (omega, v), see PoseDerivative.
std::vector<NormalStep> look(const std::vector<ComparedView>& views, const Affine3<double>& world_from_bone,
                             Memory& memory) {
  memory.resize(views.size());
  std::vector<NormalStep> steps(views.size());
  for_each(views.size(), [&](std::size_t i) { steps[i] = views[i].step(world_from_bone, memory[i]); });
  return steps;
}

NormalStep mean_of(const std::vector<NormalStep>& steps) {
  NormalStep mean{};
  const double share = 1.0 / static_cast<double>(steps.size());
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
  DampedClimb climb = climb_from(start);
  std::vector<double> by_view(views.size());
  while (!climb.finished) {
    const std::vector<NormalStep> steps = look(views, climb.world_from_bone, memory);
    const NormalStep there = mean_of(steps);
    const bool better = !climb.begun || there.value > climb.best.value;
    advance(climb, there, settings);
    if (!better) continue;
    for (std::size_t i = 0; i < steps.size(); ++i) by_view[i] = steps[i].value;
  }
  return {climb.best_pose, climb.best, climb.at_start, climb.tried, climb.converged, by_view};
}

}  // namespace

std::size_t ComparedView::fitting(const Affine3<double>& world_from_bone) const {
  double pixel_mm = std::max(norm(view.u_step), norm(view.v_step));
  if (view.beam == Beam::kPoint) {
    const Vec3<double> across = cross(view.u_step, view.v_step);
    const double depth = std::abs(dot(world_from_bone.offset - view.source, across));
    pixel_mm *= depth / std::abs(dot(view.origin - view.source, across));
  }
  std::size_t number = 0;
  for (std::size_t k = 0; k < renderers.size(); ++k) {
    if (spacings_mm[k] <= kFinest * pixel_mm) number = k;
  }
  return number;
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
