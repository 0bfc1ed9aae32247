#include "fluoropose/triangulation/observations.h"

#include <Eigen/Geometry>

namespace fluoropose {
namespace {

Eigen::Vector3d to_eigen(const Vec3<double>& v) { return {v.x, v.y, v.z}; }

}  // namespace

PlaneCamera::PlaneCamera(const View& view) {
  const Eigen::Vector3d u = to_eigen(view.u_step), v = to_eigen(view.v_step);
  const Eigen::Vector3d origin = to_eigen(view.origin), source = to_eigen(view.source);
  const Eigen::Vector3d x = u.normalized();
  const Eigen::Vector3d normal = u.cross(v).normalized();
  const Eigen::Vector3d y = normal.cross(x);
  mm_from_px << u.norm(), v.dot(x), 0, v.dot(y);
  if (view.beam == Beam::kParallel) {
    const double along = source.dot(normal);
    rows.row(0).head<3>() = x - normal * (source.dot(x) / along);
    rows.row(1).head<3>() = y - normal * (source.dot(y) / along);
    rows.col(3).head<2>() = -rows.topLeftCorner<2, 3>() * origin;
    rows.row(2) << 0, 0, 0, 1;
    return;
  }
  const Eigen::Vector3d from_source = origin - source;
  const Eigen::Vector3d depth = normal / from_source.dot(normal);
  rows.row(0).head<3>() = x - depth * from_source.dot(x);
  rows.row(1).head<3>() = y - depth * from_source.dot(y);
  rows.row(2).head<3>() = depth;
  rows.col(3) = -rows.leftCols<3>() * source;
}

void ViewObservations::add(int id, const Eigen::Vector3d& landmark, const Eigen::Vector2d& predicted_mm,
                           double weight) {
  const int lane = count % kLanes;
  if (lane == 0) blocks.emplace_back();
  ObservationBlock& block = blocks.back();
  block.x[lane] = landmark.x();
  block.y[lane] = landmark.y();
  block.z[lane] = landmark.z();
  block.u[lane] = predicted_mm.x();
  block.v[lane] = predicted_mm.y();
  block.weight[lane] = weight;
  ids.push_back(id);
  ++count;
}

void ViewObservations::finish() {
  // Padded with a landmark of the same block, so that no lane can fall behind the source on its own.
  for (int lane = count % kLanes; lane != 0 && lane < kLanes; ++lane) {
    ObservationBlock& block = blocks.back();
    block.x[lane] = block.x[0];
    block.y[lane] = block.y[0];
    block.z[lane] = block.z[0];
    block.u[lane] = block.u[0];
    block.v[lane] = block.v[0];
    block.weight[lane] = 0;
  }
}

Eigen::Vector3d ViewObservations::landmark(int i) const {
  const ObservationBlock& block = blocks[i / kLanes];
  return {block.x[i % kLanes], block.y[i % kLanes], block.z[i % kLanes]};
}

Eigen::Vector2d ViewObservations::predicted(int i) const {
  const ObservationBlock& block = blocks[i / kLanes];
  return {block.u[i % kLanes], block.v[i % kLanes]};
}

}  // namespace fluoropose
