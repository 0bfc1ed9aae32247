// Puts a known bone in front of two views, hands its landmarks' pixels to the installed library and compares the pose.
#include <Eigen/Geometry>
#include <cstdio>
#include <vector>

#include "fluoropose/triangulation/triangulate.h"

namespace {

using fluoropose::Beam;
using fluoropose::Pose;
using fluoropose::Vec3;
using fluoropose::View;

Eigen::Vector3d eigen(const Vec3<double>& v) { return {v.x, v.y, v.z}; }

Eigen::Vector2d project(const View& view, const Eigen::Vector3d& point) {
  Eigen::Matrix3d rays;
  rays << eigen(view.u_step), eigen(view.v_step), eigen(view.origin - view.source);
  const Eigen::Vector3d ray = rays.inverse() * (point - eigen(view.source));
  return ray.head<2>() / ray.z();
}

}  // namespace

int main() {
  const std::vector<View> views = {
      {768, 768, {-150, -150, 0}, {0.4, 0, 0}, {0, 0.4, 0}, {0, 0, -1200}, Beam::kPoint},
      {768, 768, {400, -150, -550}, {0, 0, 0.4}, {0, 0.4, 0}, {-800, 0, -400}, Beam::kPoint}};
  const std::vector<double> points = {40, 0, 0, -35, 5, 10, 0, 45, -20, 10, -50, 15, 20, 15, 50, -15, 20, -45};
  const std::vector<int> partner = {0, 1, 2, 3, 4, 5};
  const int count = static_cast<int>(partner.size());
  const Pose truth{Eigen::AngleAxisd(0.4, Eigen::Vector3d(1, -2, 0.5).normalized()).toRotationMatrix(),
                   {12, -20, -410}};

  std::vector<double> pixels;
  for (const View& view : views) {
    for (int i = 0; i < count; ++i) {
      const Eigen::Vector2d px = project(view, truth * Eigen::Vector3d::Map(&points[3 * static_cast<size_t>(i)]));
      pixels.insert(pixels.end(), {px.x(), px.y()});
    }
  }
  const bool visible[12] = {true, true, true, true, true, true, true, true, true, true, true, true};
  const fluoropose::Triangulation found =
      fluoropose::triangulate({count, points.data(), partner.data()}, {pixels.data(), visible, nullptr}, views, {});

  const double turn = Eigen::AngleAxisd(truth.rotation.transpose() * found.world_from_bone.rotation).angle();
  const double shift = (found.world_from_bone.translation - truth.translation).norm();
  std::printf("pose off by %.2g rad and %.2g mm\n", turn, shift);
  return found.status == fluoropose::TriangulationStatus::kOk && turn < 1e-6 && shift < 1e-4 ? 0 : 1;
}
