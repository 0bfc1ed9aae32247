#include "fluoropose/triangulation/start.h"

#include <Eigen/Eigenvalues>
#include <Eigen/Geometry>
#include <Eigen/LU>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <optional>

namespace fluoropose {
namespace {

using Points = std::vector<Eigen::Vector3d>;

// Smallest acceptable ratio between the spreads of a set of points along two of its principal axes.
constexpr double kFlat = 1e-3;

Eigen::Vector3d centroid(const Points& points) {
  Eigen::Vector3d sum = Eigen::Vector3d::Zero();
  for (const Eigen::Vector3d& p : points) sum += p;
  return sum / static_cast<double>(points.size());
}

// The rigid motion that carries `from` onto `to` in the least-squares sense (Kabsch). None for collinear points.
std::optional<Pose> rigid_motion(const Points& from, const Points& to) {
  const Eigen::Vector3d from_centre = centroid(from), to_centre = centroid(to);
  Eigen::Matrix3d moment = Eigen::Matrix3d::Zero();
  for (std::size_t i = 0; i < from.size(); ++i) moment += (to[i] - to_centre) * (from[i] - from_centre).transpose();
  const Eigen::JacobiSVD<Eigen::Matrix3d> svd(moment, Eigen::ComputeFullU | Eigen::ComputeFullV);
  const Eigen::Vector3d& s = svd.singularValues();
  if (!(s[1] > kFlat * kFlat * s[0])) return std::nullopt;
  Eigen::Vector3d signs(1, 1, (svd.matrixU() * svd.matrixV().transpose()).determinant() < 0 ? -1 : 1);
  Pose pose;
  pose.rotation = svd.matrixU() * signs.asDiagonal() * svd.matrixV().transpose();
  pose.translation = to_centre - pose.rotation * from_centre;
  return pose;
}

// Triangulates every landmark that at least two views observe: the world point whose linear projection equations
// (row_x - u row_depth) X = 0, (row_y - v row_depth) X = 0 are best satisfied.
std::optional<Pose> triangulated_start(const Observations& observations) {
  struct System {
    Eigen::Matrix3d a = Eigen::Matrix3d::Zero();
    Eigen::Vector3d b = Eigen::Vector3d::Zero();
    Eigen::Vector3d landmark;
    int views = 0;
  };
  int last = -1;
  for (const ViewObservations& view : observations) {
    for (const int id : view.ids) last = std::max(last, id);
  }
  std::vector<System> systems(last + 1);
  for (const ViewObservations& view : observations) {
    for (int i = 0; i < view.count; ++i) {
      System& system = systems[view.ids[i]];
      const Eigen::Vector2d predicted = view.predicted(i);
      for (int axis = 0; axis < 2; ++axis) {
        const Eigen::RowVector4d equation = view.camera.rows.row(axis) - predicted[axis] * view.camera.rows.row(2);
        system.a += equation.head<3>().transpose() * equation.head<3>();
        system.b -= equation.head<3>().transpose() * equation[3];
      }
      system.landmark = view.landmark(i);
      ++system.views;
    }
  }
  Points bone, world;
  bone.reserve(systems.size());
  world.reserve(systems.size());
  for (const System& system : systems) {
    if (system.views < 2) continue;
    Eigen::Matrix3d inverse;
    bool invertible;
    system.a.computeInverseWithCheck(inverse, invertible, 1e-12);
    if (!invertible) continue;
    bone.push_back(system.landmark);
    world.push_back(inverse * system.b);
  }
  if (bone.size() < 3) return std::nullopt;
  return rigid_motion(bone, world);
}

// The rotation whose first two rows are nearest to the given ones.
Eigen::Matrix3d nearest_rotation(const Eigen::Vector3d& first, const Eigen::Vector3d& second) {
  Eigen::Matrix<double, 3, 2> columns;
  columns << first, second;
  const Eigen::JacobiSVD<Eigen::Matrix<double, 3, 2>> svd(columns, Eigen::ComputeFullU | Eigen::ComputeFullV);
  const Eigen::Matrix<double, 3, 2> nearest = svd.matrixU().leftCols<2>() * svd.matrixV().transpose();
  Eigen::Matrix3d rotation;
  rotation << nearest.col(0).transpose(), nearest.col(1).transpose(), nearest.col(0).cross(nearest.col(1)).transpose();
  return rotation;
}

// Scaled orthographic solutions in the frame of a line of sight through the middle of the observations: image
// coordinates are `first . p` and `second . p` after centring. Landmarks in one plane leave the components along its
// normal open; that both vectors have one length and a right angle gives two solutions for them.
std::vector<std::pair<Eigen::Vector3d, Eigen::Vector3d>> orthographic_axes(const Points& bone,
                                                                           const std::vector<Eigen::Vector2d>& image) {
  const Eigen::Vector3d centre = centroid(bone);
  Eigen::Matrix3d spread = Eigen::Matrix3d::Zero();
  Eigen::Matrix<double, 3, 2> moment = Eigen::Matrix<double, 3, 2>::Zero();
  for (std::size_t i = 0; i < bone.size(); ++i) {
    spread += (bone[i] - centre) * (bone[i] - centre).transpose();
    moment += (bone[i] - centre) * image[i].transpose();
  }
  const Eigen::SelfAdjointEigenSolver<Eigen::Matrix3d> axes(spread);
  const Eigen::Vector3d& variance = axes.eigenvalues();  // ascending
  if (!(variance[1] > kFlat * kFlat * variance[2])) return {};
  constexpr double kThin = 0.05;  // thinner sets are solved as flat: noise would decide about the third component
  const bool flat = variance[0] < kThin * kThin * variance[2];
  Eigen::Vector3d inverse = variance.cwiseInverse();
  if (flat) inverse[0] = 0;
  const Eigen::Matrix<double, 3, 2> solved =
      axes.eigenvectors() * inverse.asDiagonal() * axes.eigenvectors().transpose() * moment;
  const Eigen::Vector3d first = solved.col(0), second = solved.col(1);
  if (!flat) return {{first, second}};
  const Eigen::Vector3d normal = axes.eigenvectors().col(0);
  // a b = -first . second and a^2 - b^2 = |second|^2 - |first|^2.
  const double product = -first.dot(second), difference = second.squaredNorm() - first.squaredNorm();
  const double a = std::sqrt((difference + std::hypot(difference, 2 * product)) / 2);
  const double b = std::copysign(std::sqrt(std::max(0.0, a * a - difference)), product);
  return {{first + a * normal, second + b * normal}, {first - a * normal, second - b * normal}};
}

std::vector<Pose> orthographic_starts(const ViewObservations& view) {
  Points bone, rays;
  for (int i = 0; i < view.count; ++i) {
    const Eigen::Vector2d predicted = view.predicted(i);
    bone.push_back(view.landmark(i));
    // The ray's direction solves both projection equations; it points where depth grows.
    const Eigen::Vector3d a = (view.camera.rows.row(0) - predicted.x() * view.camera.rows.row(2)).head<3>();
    const Eigen::Vector3d b = (view.camera.rows.row(1) - predicted.y() * view.camera.rows.row(2)).head<3>();
    const Eigen::Vector3d along = a.cross(b).normalized();
    rays.push_back(view.camera.rows.row(2).head<3>().dot(along) < 0 ? Eigen::Vector3d(-along) : along);
  }
  if (bone.size() < 3) return {};
  const Eigen::Vector3d sight = centroid(rays).normalized();
  Eigen::Matrix3d frame_from_world;
  frame_from_world.row(2) = sight;
  frame_from_world.row(0) = sight.unitOrthogonal();
  frame_from_world.row(1) = sight.cross(Eigen::Vector3d(frame_from_world.row(0)));
  std::vector<Eigen::Vector2d> image;
  Eigen::Vector2d image_centre = Eigen::Vector2d::Zero();
  for (const Eigen::Vector3d& ray : rays) {
    const Eigen::Vector3d r = frame_from_world * ray;
    image.push_back(r.head<2>() / r.z());
    image_centre += image.back() / static_cast<double>(rays.size());
  }
  const Eigen::Vector3d source = -view.camera.rows.leftCols<3>().inverse() * view.camera.rows.col(3);
  std::vector<Pose> starts;
  for (const auto& [first, second] : orthographic_axes(bone, image)) {
    const double scale = std::sqrt(first.norm() * second.norm());  // of an angle per mm: one over the distance
    if (!(scale > 0)) continue;
    Pose pose;
    pose.rotation = frame_from_world.transpose() * nearest_rotation(first, second);
    const Eigen::Vector3d centre = source + frame_from_world.transpose() * image_centre.homogeneous() / scale;
    pose.translation = centre - pose.rotation * centroid(bone);
    starts.push_back(pose);
  }
  return starts;
}

}  // namespace

Pose neutral_start(const std::vector<View>& views) {
  Vec3<double> sum{0, 0, 0};
  int count = 0;
  for (const View& view : views) {
    sum = sum + view.pixel_centre((view.width - 1) / 2.0, (view.height - 1) / 2.0);
    ++count;
    if (view.beam == Beam::kPoint) {
      sum = sum + view.source;
      ++count;
    }
  }
  Pose start;
  start.translation = Eigen::Vector3d(sum.x, sum.y, sum.z) / count;
  return start;
}

std::vector<Pose> closed_form_starts(const Observations& observations) {
  if (const std::optional<Pose> start = triangulated_start(observations)) return {*start};
  const ViewObservations* best = nullptr;
  for (const ViewObservations& view : observations) {
    if (!view.camera.parallel() && (!best || view.count > best->count)) best = &view;
  }
  return best ? orthographic_starts(*best) : std::vector<Pose>{};
}

}  // namespace fluoropose
