#include "fluoropose/triangulation/triangulate.h"

#include <ceres/autodiff_cost_function.h>
#include <ceres/dynamic_autodiff_cost_function.h>
#include <ceres/problem.h>
#include <ceres/rotation.h>
#include <ceres/solver.h>
#include <gtest/gtest.h>

#include <Eigen/Geometry>
#include <memory>
#include <random>

#include "fluoropose/triangulation/solve.h"

namespace fluoropose {
namespace {

constexpr int kLandmarks = 17;  // not a multiple of the lanes, so that padding is exercised

std::vector<View> two_views() {
  return {{768, 768, {-230, -230, 0}, {0.6, 0, 0}, {0, 0.6, 0}, {4, -3, -1000}, Beam::kPoint},
          {768, 768, {500, -230, -730}, {0, 0, 0.6}, {0.01, 0.6, 0}, {-510, 5, -495}, Beam::kPoint}};
}

struct Scene {
  std::vector<View> views = two_views();
  std::vector<double> points;  // (kLandmarks, 3) mm
  std::vector<int> partner;
  std::vector<double> px;  // (2, kLandmarks, 2)
  std::unique_ptr<bool[]> visible = std::make_unique<bool[]>(2 * kLandmarks);
  Pose truth;

  explicit Scene(unsigned seed, double noise_mm) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    for (int i = 0; i < kLandmarks; ++i) {
      for (int axis = 0; axis < 3; ++axis) points.push_back(45 * normal(generator));
      partner.push_back(i);
    }
    const Eigen::Quaterniond q(normal(generator), normal(generator), normal(generator), normal(generator));
    truth.rotation = q.normalized().toRotationMatrix();
    truth.translation = {10, -15, -510};
    std::fill_n(visible.get(), 2 * kLandmarks, true);
    for (const View& view : views) {
      const PlaneCamera camera(view);
      for (int i = 0; i < kLandmarks; ++i) {
        const Eigen::Vector3d h = camera.rows * (truth * point(i)).homogeneous();
        const Eigen::Vector2d noise(noise_mm * normal(generator), noise_mm * normal(generator));
        const Eigen::Vector2d pixel = camera.mm_from_px.inverse() * (h.hnormalized() + noise);
        px.insert(px.end(), {pixel.x(), pixel.y()});
      }
    }
  }

  Eigen::Vector3d point(int i) const { return Eigen::Map<const Eigen::Vector3d>(&points[3 * i]); }
  Eigen::Vector2d predicted_mm(int k, int i) const {
    return PlaneCamera(views[k]).mm_from_px * Eigen::Map<const Eigen::Vector2d>(&px[2 * (k * kLandmarks + i)]);
  }
  Observations observations() const {
    Observations all;
    for (std::size_t k = 0; k < views.size(); ++k) {
      all.emplace_back(PlaneCamera(views[k]), kLandmarks);
      for (int i = 0; i < kLandmarks; ++i) all[k].add(i, point(i), predicted_mm(static_cast<int>(k), i), 0.5 + i % 3);
      all[k].finish();
    }
    return all;
  }
  Triangulation solve(const TriangulationOptions& options) const {
    return triangulate({kLandmarks, points.data(), partner.data()}, {px.data(), visible.get(), nullptr}, views,
                       options);
  }
};

Pose moved(const Pose& pose, const Vector6d& x) {
  const double angle = x.head<3>().norm();
  Pose result = pose;
  if (angle > 0) result.rotation = Eigen::AngleAxisd(angle, x.head<3>() / angle) * pose.rotation;
  result.translation += x.tail<3>();
  return result;
}

TEST(NormLoss, IsTheNormAwayFromZero) {
  double rho[3];
  NormLoss().Evaluate(25.0, rho);
  EXPECT_NEAR(rho[0], 2 * 5.0, 3e-6);  // less than 2 epsilon off
  EXPECT_NEAR(rho[1], 1 / 5.0, 1e-12);
  EXPECT_NEAR(rho[2], -0.5 / 125.0, 1e-12);
}

TEST(NormLoss, HasSaneDerivativesEverywhere) {
  double rho[3], above[3], below[3];
  NormLoss().Evaluate(0.0, rho);
  EXPECT_EQ(rho[0], 0.0);
  EXPECT_TRUE(std::isfinite(rho[1]) && rho[1] > 0);
  EXPECT_TRUE(std::isfinite(rho[2]) && rho[2] < 0);
  for (const double s : {1e-14, 1e-12, 1e-9, 1e-3, 1.0, 1e6}) {
    const double step = 1e-4 * s;
    NormLoss().Evaluate(s, rho);
    NormLoss().Evaluate(s + step, above);
    NormLoss().Evaluate(s - step, below);
    EXPECT_NEAR((above[0] - below[0]) / (2 * step), rho[1], 1e-5 * rho[1]) << s;
    EXPECT_NEAR((above[1] - below[1]) / (2 * step), rho[2], 1e-5 * std::abs(rho[2])) << s;
  }
}

TEST(PlaneCamera, ProjectsToMillimetresOnThePlane) {
  std::vector<View> views = two_views();
  views.push_back({768, 768, {-230, -230, 100}, {0.6, 0, 0}, {0, 0.6, 0}, {0.1, -0.2, 0.97}, Beam::kParallel});
  for (const View& view : views) {
    const PlaneCamera camera(view);
    EXPECT_EQ(camera.parallel(), view.beam == Beam::kParallel);
    for (const Eigen::Vector2d& pixel : {Eigen::Vector2d(0, 0), {100, 300}, {700, 20.5}}) {
      const Vec3<double> on_plane = view.pixel_centre(pixel.x(), pixel.y());
      // Anywhere on the ray through the pixel: half way to the source, or along the beam.
      const Vec3<double> on_ray =
          view.beam == Beam::kPoint ? (on_plane + view.source) * 0.5 : on_plane - view.source * 250.0;
      for (const Vec3<double>& p : {on_plane, on_ray}) {
        const Eigen::Vector3d h = camera.rows * Eigen::Vector4d(p.x, p.y, p.z, 1);
        EXPECT_GT(h.z(), 0);
        EXPECT_NEAR((h.hnormalized() - camera.mm_from_px * pixel).norm(), 0, 1e-9);
      }
    }
    // Differences of pixels are distances on the plane.
    const Vec3<double> a = view.pixel_centre(3, 5), b = view.pixel_centre(90, 60);
    EXPECT_NEAR((camera.mm_from_px * Eigen::Vector2d(87, 55)).norm(), norm(b - a), 1e-9);
  }
}

class EveryLoss : public testing::TestWithParam<Loss> {};
INSTANTIATE_TEST_SUITE_P(Triangulation, EveryLoss,
                         testing::Values(Loss::kNorm, Loss::kSquared, Loss::kHuber, Loss::kCauchy));

TEST_P(EveryLoss, GradientIsTheDerivativeOfTheCost) {
  const Scene scene(1, 3.0);
  const Observations observations = scene.observations();
  const auto rho = make_loss(GetParam(), 2.0);
  Objective objective(observations, GetParam(), *rho);
  const Pose pose = moved(scene.truth, (Vector6d() << 0.1, -0.2, 0.05, 5, -8, 12).finished());
  ASSERT_TRUE(objective.evaluate(pose));
  const Vector6d gradient = objective.gradient();
  for (int i = 0; i < 6; ++i) {
    const Vector6d step = 1e-5 * Vector6d::Unit(i);
    ASSERT_TRUE(objective.evaluate(moved(pose, step)));
    const double above = objective.cost();
    ASSERT_TRUE(objective.evaluate(moved(pose, -step)));
    EXPECT_NEAR((above - objective.cost()) / 2e-5, gradient[i], 1e-6 * gradient.norm());
  }
}

TEST(Objective, HessianIsTheGaussNewtonProduct) {
  const Scene scene(2, 3.0);
  const Observations observations = scene.observations();
  const auto rho = make_loss(Loss::kSquared, 1.0);
  Objective objective(observations, Loss::kSquared, *rho);
  ASSERT_TRUE(objective.evaluate(scene.truth));
  const Matrix6d hessian = objective.hessian();
  Matrix6d expected = Matrix6d::Zero();
  for (const ViewObservations& view : observations) {
    for (int i = 0; i < view.count; ++i) {
      const auto project = [&](const Vector6d& x) -> Eigen::Vector2d {
        return (view.camera.rows * (moved(scene.truth, x) * view.landmark(i)).homogeneous()).hnormalized();
      };
      Eigen::Matrix<double, 2, 6> jacobian;
      for (int j = 0; j < 6; ++j) {
        const Vector6d step = 1e-5 * Vector6d::Unit(j);
        jacobian.col(j) = (project(step) - project(-step)) / 2e-5;
      }
      expected += (0.5 + i % 3) * jacobian.transpose() * jacobian;
    }
  }
  EXPECT_LT((hessian - expected).norm(), 1e-7 * expected.norm());
}

TEST(Objective, ALandmarkBehindASourceCostsInfinity) {
  const Scene scene(3, 0.0);
  const Observations observations = scene.observations();
  const auto rho = make_loss(Loss::kNorm, 1.0);
  Objective objective(observations, Loss::kNorm, *rho);
  Pose pose = scene.truth;
  pose.translation = {4, -3, -1000};
  EXPECT_FALSE(objective.evaluate(pose));
  EXPECT_TRUE(std::isinf(objective.cost()));
}

// The same problem as Ceres users would state it: autodiff, one residual block per view (or per landmark and view).
struct Residuals {
  const Scene& scene;
  int view, first, count;

  template <typename T>
  bool operator()(const T* const* parameters, T* residuals) const {
    const PlaneCamera camera(scene.views[view]);
    for (int i = 0; i < count; ++i) {
      const Eigen::Vector3d point = scene.truth.rotation * scene.point(first + i);
      const T p[3] = {T(point.x()), T(point.y()), T(point.z())};
      T q[3];
      ceres::AngleAxisRotatePoint(parameters[0], p, q);
      T h[3];
      for (int row = 0; row < 3; ++row) {
        h[row] = T(camera.rows(row, 3));
        for (int axis = 0; axis < 3; ++axis) {
          h[row] += camera.rows(row, axis) * (q[axis] + parameters[0][3 + axis] + scene.truth.translation[axis]);
        }
      }
      const Eigen::Vector2d predicted = scene.predicted_mm(view, first + i);
      residuals[2 * i] = predicted.x() - h[0] / h[2];
      residuals[2 * i + 1] = predicted.y() - h[1] / h[2];
    }
    return true;
  }
};

TEST_P(EveryLoss, ReachesTheOptimumOfTheFullCeresSolver) {
  const Scene scene(4, 2.0);
  double x[6] = {0.01, 0.02, -0.01, 1, 2, -1};
  ceres::Problem problem;
  for (int k = 0; k < 2; ++k) {
    const int size = one_block_per_view(GetParam()) ? kLandmarks : 1;
    for (int first = 0; first < kLandmarks; first += size) {
      auto* cost = new ceres::DynamicAutoDiffCostFunction<Residuals>(new Residuals{scene, k, first, size});
      cost->AddParameterBlock(6);
      cost->SetNumResiduals(2 * size);
      problem.AddResidualBlock(cost, const_cast<ceres::LossFunction*>(make_loss(GetParam(), 2.0).release()), x);
    }
  }
  ceres::Solver::Options options;
  options.function_tolerance = options.gradient_tolerance = options.parameter_tolerance = 1e-15;
  options.max_num_iterations = 200;
  ceres::Solver::Summary summary;
  ceres::Solve(options, &problem, &summary);
  const Pose expected = moved(scene.truth, Eigen::Map<Vector6d>(x));

  TriangulationOptions ours;
  ours.loss = GetParam();
  const Triangulation found = scene.solve(ours);
  ASSERT_EQ(found.status, TriangulationStatus::kOk);
  EXPECT_NEAR(found.cost, summary.final_cost, 1e-9 * summary.final_cost);
  EXPECT_LT((found.world_from_bone.translation - expected.translation).norm(), 1e-4);
  EXPECT_LT((found.world_from_bone.rotation - expected.rotation).norm(), 1e-6);
}

TEST_P(EveryLoss, ReachesTheTruthAtZeroNoise) {
  for (unsigned seed = 10; seed < 20; ++seed) {
    const Scene scene(seed, 0.0);
    TriangulationOptions options;
    options.loss = GetParam();
    for (const bool neutral : {false, true}) {
      if (neutral) options.start = neutral_start(scene.views);
      const Triangulation found = scene.solve(options);
      ASSERT_EQ(found.status, TriangulationStatus::kOk);
      EXPECT_LT((found.world_from_bone.translation - scene.truth.translation).norm(), 1e-7);
      EXPECT_LT((found.world_from_bone.rotation - scene.truth.rotation).norm(), 1e-9);
    }
  }
}

TEST(ClosedFormStarts, AreExactForExactPointsInTwoViews) {
  const Scene scene(5, 0.0);
  const std::vector<Pose> starts = closed_form_starts(scene.observations());
  ASSERT_EQ(starts.size(), 1u);
  EXPECT_LT((starts[0].translation - scene.truth.translation).norm(), 1e-6);
  EXPECT_LT((starts[0].rotation - scene.truth.rotation).norm(), 1e-8);
}

TEST(ClosedFormStarts, AreNearInOneView) {
  for (unsigned seed = 30; seed < 50; ++seed) {
    Observations observations = Scene(seed, 0.0).observations();
    observations.pop_back();
    const std::vector<Pose> starts = closed_form_starts(observations);
    ASSERT_EQ(starts.size(), 1u);
    // A scaled orthographic view of a bone 90 mm deep, 500 mm away: measured up to 9 degrees.
    EXPECT_LT(Eigen::AngleAxisd(starts[0].rotation.transpose() * Scene(seed, 0.0).truth.rotation).angle(), 0.3);
  }
}

TEST(NeutralStart, IsTheMeanOfSourcesAndPlaneCentres) {
  const std::vector<View> views = two_views();
  Vec3<double> sum{0, 0, 0};
  for (const View& view : views) sum = sum + view.source + view.pixel_centre(383.5, 383.5);
  const Pose start = neutral_start(views);
  EXPECT_EQ(start.rotation, Eigen::Matrix3d::Identity());
  EXPECT_LT((start.translation - Eigen::Vector3d(sum.x, sum.y, sum.z) / 4).norm(), 1e-9);
}

TEST(Triangulate, RefusesBadInput) {
  const Scene scene(6, 1.0);
  const auto refuses = [&](auto change, const char* name) {
    Scene bad(6, 1.0);
    change(bad);
    try {
      bad.solve({});
      ADD_FAILURE() << name;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
  };
  refuses([](Scene& s) { s.points[4] = std::nan(""); }, "points");
  refuses([](Scene& s) { s.partner[0] = kLandmarks; }, "partner");
  refuses([](Scene& s) { s.partner[0] = 1; }, "partner");
  refuses([](Scene& s) { s.px[5] = std::nan(""); }, "px");
  refuses([](Scene& s) { s.views.clear(); }, "views");
  refuses([](Scene& s) { s.views[0].source = s.views[0].origin; }, "source");
  TriangulationOptions options;
  options.loss_scale_mm = 0;
  EXPECT_THROW(scene.solve(options), std::invalid_argument);
  options = {};
  options.start = Pose{};
  options.start->translation.x() = std::nan("");
  EXPECT_THROW(scene.solve(options), std::invalid_argument);
}

TEST(Triangulate, SaysWhyThereIsNoPose) {
  Scene few(7, 0.0);
  std::fill_n(few.visible.get() + 2, kLandmarks - 2, false);
  EXPECT_EQ(few.solve({}).status, TriangulationStatus::kTooFewPoints);

  Scene line(7, 0.0);
  for (int i = 0; i < kLandmarks; ++i) {
    for (int axis = 0; axis < 3; ++axis) line.points[3 * i + axis] = i * (axis + 1.0);
  }
  EXPECT_EQ(line.solve({}).status, TriangulationStatus::kCollinearPoints);

  const Scene scene(7, 0.0);
  TriangulationOptions behind;
  behind.start = Pose{Eigen::Matrix3d::Identity(), {4, -3, -1400}};
  const Triangulation found = scene.solve(behind);
  EXPECT_EQ(found.status, TriangulationStatus::kBehindSource);
  EXPECT_TRUE(std::isinf(found.cost));
  for (const double residual : found.residuals) EXPECT_TRUE(std::isnan(residual));
}

}  // namespace
}  // namespace fluoropose
