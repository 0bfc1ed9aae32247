#include "fluoropose/triangulation/solve.h"

#include <ceres/tiny_solver.h>

#include <Eigen/Cholesky>
#include <cmath>

namespace fluoropose {
namespace {

Eigen::Matrix3d cross_matrix(const Eigen::Vector3d& w) {
  Eigen::Matrix3d m;
  m << 0, -w.z(), w.y(), w.z(), 0, -w.x(), -w.y(), w.x(), 0;
  return m;
}

// exp(omega) and the left Jacobian J of SO(3): exp(omega + d) = exp(J d) exp(omega) to first order.
void rotation_and_jacobian(const Eigen::Vector3d& omega, Eigen::Matrix3d* rotation, Eigen::Matrix3d* jacobian) {
  const double angle2 = omega.squaredNorm();
  const Eigen::Matrix3d w = cross_matrix(omega);
  double a = 1 - angle2 / 6, b = 0.5 - angle2 / 24, c = 1.0 / 6 - angle2 / 120;  // series, exact below 1e-4 rad
  if (angle2 > 1e-8) {
    const double angle = std::sqrt(angle2);
    a = std::sin(angle) / angle;
    const double half = std::sin(angle / 2);
    b = 2 * half * half / angle2;
    c = (1 - a) / angle2;
  }
  const Eigen::Matrix3d w2 = w * w;
  *rotation = Eigen::Matrix3d::Identity() + a * w + b * w2;
  *jacobian = Eigen::Matrix3d::Identity() + b * w + c * w2;
}

// The problem as ceres::TinySolver wants it. TinySolver minimises |F|^2 / 2 and knows no loss functions; it is given
// the square root of the Gauss-Newton system: with H = L L^T, F = (L^-1 g, rest) and J_F = (L^T, 0). Then J_F^T J_F = H
// and J_F^T F = g, and `rest` makes |F|^2 / 2 the cost itself. It is real because every loss here is concave in the
// squared norm with rho(0) = 0, so that g^T H^-1 g <= sum rho'(s) s <= sum rho(s) = 2 cost. Seven residuals however
// many landmarks there are: one evaluation costs less than the dense Jacobian's product would.
//
// The parameters are the rotation vector from the start, times length_mm, and the translation from the start, mm.
class SquareRootSystem {
 public:
  using Scalar = double;
  enum { NUM_RESIDUALS = 7, NUM_PARAMETERS = 6 };

  SquareRootSystem(Objective& objective, const Pose& start, double length_mm)
      : objective_(objective), start_(start), length_mm_(length_mm) {}

  Pose pose(const Vector6d& x) const {
    Pose moved;
    Eigen::Matrix3d turn, jacobian;
    rotation_and_jacobian(x.head<3>() / length_mm_, &turn, &jacobian);
    moved.rotation = turn * start_.rotation;
    moved.translation = start_.translation + x.tail<3>();
    return moved;
  }

  bool operator()(const double* parameters, double* residuals, double* jacobian) const {
    const Vector6d x = Eigen::Map<const Vector6d>(parameters);
    // TinySolver asks for the cost of a step first, then, if it accepts it, for the Jacobian at the same place.
    if (!(x == last_)) evaluate(x);
    Eigen::Map<Eigen::Matrix<double, 7, 1>>(residuals, 7) = residuals_;
    if (jacobian) Eigen::Map<Eigen::Matrix<double, 7, 6>>(jacobian, 7, 6) = jacobian_;
    return true;
  }

 private:
  void evaluate(const Vector6d& x) const {
    last_ = x;
    jacobian_.setZero();
    Pose moved;
    Eigen::Matrix3d turn, left;
    rotation_and_jacobian(x.head<3>() / length_mm_, &turn, &left);
    moved.rotation = turn * start_.rotation;
    moved.translation = start_.translation + x.tail<3>();
    if (!objective_.evaluate(moved)) {
      residuals_.setConstant(1e150);  // squared still finite: TinySolver rejects the step and shortens it
      return;
    }
    left /= length_mm_;
    Matrix6d h = objective_.hessian();
    h.leftCols<3>() = h.leftCols<3>().eval() * left;
    h.topRows<3>() = left.transpose() * h.topRows<3>().eval();
    Vector6d g = objective_.gradient();
    g.head<3>() = left.transpose() * g.head<3>().eval();
    // Keeps the factor defined where a motion is not observable; far below what rounding does to the observable ones.
    h.diagonal().array() += 1e-13 * h.trace();
    const Eigen::LLT<Matrix6d> factor(h);
    const Vector6d top = factor.matrixL().solve(g);
    residuals_.head<6>() = top;
    residuals_[6] = std::sqrt(std::max(0.0, 2 * objective_.cost() - top.squaredNorm()));
    jacobian_.topRows<6>() = Matrix6d(factor.matrixU());
  }

  Objective& objective_;
  Pose start_;
  double length_mm_;
  mutable Vector6d last_ = Vector6d::Constant(std::nan(""));
  mutable Eigen::Matrix<double, 7, 1> residuals_;
  mutable Eigen::Matrix<double, 7, 6> jacobian_;
};

// What a Gauss-Newton step would still gain must be nothing beside the cost, or beside a unit of it.
bool is_minimum(const Objective& objective) {
  Matrix6d h = objective.hessian();
  h.diagonal() *= 1 + 1e-12;
  const double gain = 0.5 * objective.gradient().dot(h.ldlt().solve(objective.gradient()));
  return std::isfinite(gain) && gain <= 1e-6 * (objective.cost() + 1.0);
}

}  // namespace

Solution minimise(Objective& objective, const Pose& start, double length_mm, double tolerance) {
  if (!objective.evaluate(start)) return {start, objective.cost(), false};
  const SquareRootSystem system(objective, start, length_mm);
  // The damped system is positive definite: no pivoting is needed.
  ceres::TinySolver<SquareRootSystem, Eigen::LLT<Matrix6d>> solver;
  solver.options.max_num_iterations = 100;
  solver.options.initial_trust_region_radius = 1e6;
  solver.options.gradient_tolerance = 1e-12;
  solver.options.parameter_tolerance = 1e-10;
  solver.options.function_tolerance = tolerance * objective.cost();
  Vector6d x = Vector6d::Zero();
  solver.Solve(system, &x);
  Solution solution{system.pose(x), 0, false};
  objective.evaluate(solution.world_from_bone);
  solution.cost = objective.cost();
  solution.converged = is_minimum(objective);
  return solution;
}

}  // namespace fluoropose
