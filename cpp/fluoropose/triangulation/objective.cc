#include "fluoropose/triangulation/objective.h"

#include <limits>

#include "fluoropose/core/macros.h"

namespace fluoropose {
namespace {

// A landmark closer to the source than this share of the source's distance from the plane counts as behind it.
constexpr double kMinDepth = 1e-9;

// Projects all landmarks; false when one is not in front of the source. squared: sum of the weighted squared residuals.
FLUOROPOSE_TARGET_CLONES
bool project(const Eigen::Matrix<double, 3, 4>& rows, const Pose& pose, const ObservationBlock* in, int blocks,
             ProjectedBlock* out, double* squared) {
  double m[3][4];
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      m[i][j] = rows(i, 0) * pose.rotation(0, j) + rows(i, 1) * pose.rotation(1, j) + rows(i, 2) * pose.rotation(2, j);
    }
    m[i][3] = rows(i, 0) * pose.translation[0] + rows(i, 1) * pose.translation[1] + rows(i, 2) * pose.translation[2] +
              rows(i, 3);
  }
  Lanes sum = {};
  Lanes behind = {};
  for (int b = 0; b < blocks; ++b) {
    const ObservationBlock& o = in[b];
    ProjectedBlock& p = out[b];
    const Lanes depth = m[2][0] * o.x + m[2][1] * o.y + m[2][2] * o.z + m[2][3];
    behind += depth > kMinDepth ? Lanes{} : Lanes{} + 1.0;
    p.inverse_depth = 1.0 / depth;
    p.u = (m[0][0] * o.x + m[0][1] * o.y + m[0][2] * o.z + m[0][3]) * p.inverse_depth;
    p.v = (m[1][0] * o.x + m[1][1] * o.y + m[1][2] * o.z + m[1][3]) * p.inverse_depth;
    p.residual_u = o.u - p.u;
    p.residual_v = o.v - p.v;
    p.weight = o.weight;
    sum += o.weight * (p.residual_u * p.residual_u + p.residual_v * p.residual_v);
  }
  double total = 0, count = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    total += sum[lane];
    count += behind[lane];
  }
  *squared = total;
  return count == 0;
}

// Sums the 21 entries of the upper triangle of J^T W J, then the 6 of -J^T W r, into sums.
FLUOROPOSE_TARGET_CLONES
void accumulate(const Eigen::Matrix<double, 3, 4>& rows, const Eigen::Matrix3d& rotation, const ObservationBlock* in,
                const ProjectedBlock* projected, int blocks, double* sums) {
  Lanes acc[27] = {};
  for (int b = 0; b < blocks; ++b) {
    const ObservationBlock& o = in[b];
    const ProjectedBlock& p = projected[b];
    const Lanes qx = rotation(0, 0) * o.x + rotation(0, 1) * o.y + rotation(0, 2) * o.z;
    const Lanes qy = rotation(1, 0) * o.x + rotation(1, 1) * o.y + rotation(1, 2) * o.z;
    const Lanes qz = rotation(2, 0) * o.x + rotation(2, 1) * o.y + rotation(2, 2) * o.z;
    Lanes ju[6], jv[6];
    for (int i = 0; i < 3; ++i) {
      ju[3 + i] = (rows(0, i) - p.u * rows(2, i)) * p.inverse_depth;
      jv[3 + i] = (rows(1, i) - p.v * rows(2, i)) * p.inverse_depth;
    }
    // d(R p) = omega x q, so the derivative to omega is q x g, with g the derivative to the translation.
    ju[0] = qy * ju[5] - qz * ju[4];
    ju[1] = qz * ju[3] - qx * ju[5];
    ju[2] = qx * ju[4] - qy * ju[3];
    jv[0] = qy * jv[5] - qz * jv[4];
    jv[1] = qz * jv[3] - qx * jv[5];
    jv[2] = qx * jv[4] - qy * jv[3];
    int k = 0;
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      const Lanes wu = p.weight * ju[i], wv = p.weight * jv[i];
#pragma GCC unroll 6
      for (int j = i; j < 6; ++j) acc[k++] += wu * ju[j] + wv * jv[j];
      acc[21 + i] -= wu * p.residual_u + wv * p.residual_v;
    }
  }
  for (int k = 0; k < 27; ++k) {
    double sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) sum += acc[k][lane];
    sums[k] = sum;
  }
}

}  // namespace

NormalEquations normal_equations(const ViewObservations& view, const std::vector<ProjectedBlock>& projected,
                                 const Eigen::Matrix3d& rotation) {
  double sums[27];
  accumulate(view.camera.rows, rotation, view.blocks.data(), projected.data(), static_cast<int>(projected.size()),
             sums);
  NormalEquations system;
  for (int i = 0, k = 0; i < 6; ++i) {
    for (int j = i; j < 6; ++j, ++k) system.hessian(i, j) = system.hessian(j, i) = sums[k];
    system.gradient[i] = sums[21 + i];
  }
  return system;
}

Objective::Objective(const Observations& observations, Loss loss, const ceres::LossFunction& rho)
    : observations_(observations), loss_(loss), rho_(rho), projected_(observations.size()) {
  for (std::size_t k = 0; k < observations.size(); ++k) projected_[k].resize(observations[k].blocks.size());
}

bool Objective::evaluate(const Pose& pose) {
  cost_ = 0;
  total_ = {};
  for (std::size_t k = 0; k < observations_.size(); ++k) {
    const ViewObservations& view = observations_[k];
    std::vector<ProjectedBlock>& projected = projected_[k];
    double squared;
    if (!project(view.camera.rows, pose, view.blocks.data(), static_cast<int>(view.blocks.size()), projected.data(),
                 &squared)) {
      cost_ = std::numeric_limits<double>::infinity();
      return false;
    }
    double rho[3];
    double slope = 1;  // of the view's block; the slopes of single landmarks are in their weights
    if (one_block_per_view(loss_)) {
      rho_.Evaluate(squared, rho);
      cost_ += rho[0] / 2;
      slope = rho[1];
    } else {
      for (int i = 0; i < view.count; ++i) {
        ProjectedBlock& p = projected[i / kLanes];
        const int lane = i % kLanes;
        const double ru = p.residual_u[lane], rv = p.residual_v[lane];
        rho_.Evaluate(p.weight[lane] * (ru * ru + rv * rv), rho);
        cost_ += rho[0] / 2;
        p.weight[lane] *= rho[1];
      }
    }
    const NormalEquations system = normal_equations(view, projected, pose.rotation);
    total_.hessian += slope * system.hessian;
    total_.gradient += slope * system.gradient;
  }
  return true;
}

}  // namespace fluoropose
