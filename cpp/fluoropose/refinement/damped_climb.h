// One climb by Levenberg and Marquardt's method, a look at a time. Bodies for CPU and CUDA.
#pragma once

#include "fluoropose/core/vec.h"
#include "fluoropose/refinement/normal_step.h"

namespace fluoropose {

struct LevenbergSettings {
  int iterations;       // at most, steps tried
  double tolerance_px;  // converged when a step would move the bone's surface less than this
  double damping;       // at the first step, relative to the diagonal of J^T J
  double reach_px;      // no step goes further
  double radius_mm;     // one radian moves the bone's surface so far
  double pixel_mm;      // a pixel's side at the bone
};

// Turn (rad, world axes) about the bone's origin and shift (mm).
struct PoseStep {
  Vec3<double> turn, shift;
};

struct DampedClimb {
  Affine3<double> world_from_bone;  // to look at next
  Affine3<double> best_pose;
  NormalStep best;  // there
  double at_start;  // the value
  PoseStep step;    // from there to the next
  double damping, sizing;
  int tried;
  bool begun, converged, finished;
};

constexpr double kMostDamping = 1e4;
// J^T J is the curvature where all that differs is the pose. Where the images differ in more, the true one is about NCC
// times as strong. Once steps are short, the change of the gradient along the last one tells better (Oren and
// Luenberger, Manage. Sci. 1974); further from the goal than edges are wide it tells of too little.
constexpr double kLeastSizing = 0.15, kMostSizing = 1.5, kShort = 1.0;  // px

FLUOROPOSE_HD double sized(double sizing) { return fmin(fmax(sizing, kLeastSizing), kMostSizing); }

// Turns and shifts a pose. The rows are made orthonormal again, which takes away what rounding has added.
FLUOROPOSE_HD Affine3<double> moved(const Affine3<double>& pose, const PoseStep& step) {
  const double angle = norm(step.turn);
  const double s = angle > 1e-8 ? sin(angle) / angle : 1.0;
  const double half = 0.5 * angle, h = half > 1e-8 ? sin(half) / half : 1.0, c = 0.5 * h * h;  // (1 - cos) / angle^2
  const auto turned = [&](const Vec3<double>& column) {
    const Vec3<double> once = cross(step.turn, column);
    return column + once * s + cross(step.turn, once) * c;
  };
  const Vec3<double> x = turned({pose.row0.x, pose.row1.x, pose.row2.x});
  const Vec3<double> y = turned({pose.row0.y, pose.row1.y, pose.row2.y});
  const Vec3<double> z = turned({pose.row0.z, pose.row1.z, pose.row2.z});
  const auto unit = [](const Vec3<double>& v) { return v * (1 / norm(v)); };
  const Vec3<double> row0 = unit({x.x, y.x, z.x}), along1{x.y, y.y, z.y};
  const Vec3<double> row1 = unit(along1 - row0 * dot(row0, along1));
  return {row0, row1, cross(row0, row1), pose.offset + step.shift};
}

FLUOROPOSE_HD double motion_px(const LevenbergSettings& s, const PoseStep& step) {
  return hypot(norm(step.turn) * s.radius_mm, norm(step.shift)) / s.pixel_mm;
}

// Solves a x = b in place of b, by elimination with the largest of each column as its pivot.
FLUOROPOSE_HD void solve6(double a[6][6], double b[6]) {
  const auto swap_if = [](bool swapped, double& one, double& other) {
    const double kept = one;
    one = swapped ? other : one, other = swapped ? kept : other;
  };
  for (int k = 0; k < 6; ++k) {
    for (int row = k + 1; row < 6; ++row) {
      const bool larger = fabs(a[row][k]) > fabs(a[k][k]);
      for (int column = 0; column < 6; ++column) swap_if(larger, a[k][column], a[row][column]);
      swap_if(larger, b[k], b[row]);
    }
    for (int row = k + 1; row < 6; ++row) {
      const double factor = a[row][k] / a[k][k];
      for (int column = k + 1; column < 6; ++column) a[row][column] -= factor * a[k][column];
      b[row] -= factor * b[k];
    }
  }
  for (int k = 5; k >= 0; --k) {
    for (int column = k + 1; column < 6; ++column) b[k] -= a[k][column] * b[column];
    b[k] /= a[k][k];
  }
}

FLUOROPOSE_HD PoseStep damped_step(const NormalStep& here, double sizing, double damping, const LevenbergSettings& s) {
  double jtj[6][6], x[6], largest = 0;
  for (int i = 0; i < 6; ++i) largest = fmax(largest, sizing * here.jtj[i][i]);
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < 6; ++j) jtj[i][j] = sizing * here.jtj[i][j];
    jtj[i][i] += damping * fmax(jtj[i][i], 1e-9 * largest + 1e-30);
    x[i] = -here.jtr[i];
  }
  solve6(jtj, x);
  const PoseStep step{{x[0], x[1], x[2]}, {x[3], x[4], x[5]}};
  const double shorter = 1 / fmax(motion_px(s, step) / s.reach_px, 1.0);
  return {step.turn * shorter, step.shift * shorter};
}

FLUOROPOSE_HD double along(const NormalStep& here, const PoseStep& step) {
  return dot(step.turn, Vec3<double>{here.jtr[0], here.jtr[1], here.jtr[2]}) +
         dot(step.shift, Vec3<double>{here.jtr[3], here.jtr[4], here.jtr[5]});
}

FLUOROPOSE_HD double bend(const NormalStep& here, const PoseStep& step) {
  const double x[6] = {step.turn.x, step.turn.y, step.turn.z, step.shift.x, step.shift.y, step.shift.z};
  double sum = 0;
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < 6; ++j) sum += x[i] * here.jtj[i][j] * x[j];
  }
  return sum;
}

FLUOROPOSE_HD DampedClimb climb_from(const Affine3<double>& start) {
  DampedClimb climb{};
  climb.world_from_bone = climb.best_pose = start;
  return climb;
}

// Keeps the step just tried, there, where it has led to more likeness, and makes the next more or less bold.
FLUOROPOSE_HD void judge(DampedClimb& climb, const NormalStep& there, const LevenbergSettings& settings) {
  const NormalStep& here = climb.best;
  const double bent = fmax(bend(here, climb.step), 1e-30), before = along(here, climb.step);
  const bool tells = motion_px(settings, climb.step) < kShort && std::isfinite(there.value);
  const double told = (along(there, climb.step) - before) / bent;
  if (there.value > here.value) {
    const double predicted = -before - 0.5 * climb.sizing * bent;
    const double gained = (there.value - here.value) / fmax(predicted, 1e-30);
    climb.damping = gained > 0.25 ? fmax(climb.damping / 5, 1e-6) : 2 * climb.damping;
    climb.best_pose = climb.world_from_bone, climb.best = there;
  } else {
    climb.damping *= 8;
  }
  climb.sizing = sized(tells ? told : climb.best.value);
}

// Takes the normal equations at climb.world_from_bone and says where to look next, unless the climb is finished.
FLUOROPOSE_HD void advance(DampedClimb& climb, const NormalStep& there, const LevenbergSettings& settings) {
  if (climb.begun) {
    judge(climb, there, settings);
  } else {
    climb.begun = true, climb.best = there, climb.at_start = there.value;
    climb.damping = settings.damping, climb.sizing = sized(there.value);
    climb.finished = !std::isfinite(there.value);
  }
  if (climb.finished || climb.tried >= settings.iterations || !(climb.damping < kMostDamping)) {
    climb.finished = true;
    return;
  }
  climb.step = damped_step(climb.best, climb.sizing, climb.damping, settings);
  if (motion_px(settings, climb.step) < settings.tolerance_px) {
    climb.finished = climb.converged = true;
    return;
  }
  ++climb.tried;
  climb.world_from_bone = moved(climb.best_pose, climb.step);
}

}  // namespace fluoropose
