#include "fluoropose/triangulation/triangulate.h"

#include <Eigen/Eigenvalues>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "fluoropose/triangulation/covariance.h"
#include "fluoropose/triangulation/solve.h"

namespace fluoropose {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMaxViews = 8;

// Landmarks whose spread across their line is less than this share of the spread along it count as collinear.
constexpr double kCollinear = 1e-3;

void require(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

void validate_input(const LandmarkSet& landmarks, const Predictions& predictions, const std::vector<View>& views,
                    const TriangulationOptions& options) {
  require(!views.empty() && views.size() <= kMaxViews, "views: one to eight are possible");
  for (const View& view : views) validate(view);
  require(landmarks.count >= 0, "landmarks.count: must not be negative");
  for (int i = 0; i < landmarks.count; ++i) {
    for (int axis = 0; axis < 3; ++axis) {
      require(std::isfinite(landmarks.points[3 * i + axis]), "landmarks.points: must be finite");
    }
    const int partner = landmarks.partner[i];
    require(partner >= 0 && partner < landmarks.count && landmarks.partner[partner] == i,
            "landmarks.partner: must be indices of landmarks that are each other's partners");
  }
  for (std::size_t i = 0; i < views.size() * landmarks.count; ++i) {
    if (!predictions.visible[i]) continue;
    require(std::isfinite(predictions.px[2 * i]) && std::isfinite(predictions.px[2 * i + 1]),
            "predictions.px: must be finite where visible");
    const double weight = predictions.weights ? predictions.weights[i] : 1.0;
    require(std::isfinite(weight) && weight >= 0, "predictions.weights: must be finite and not negative");
  }
  if (options.start) {
    require(options.start->rotation.allFinite() && options.start->translation.allFinite(), "start: must be finite");
  }
}

// One frame's input, and the observations that a hypothesis makes of it.
class Frame {
 public:
  Frame(const LandmarkSet& landmarks, const Predictions& predictions, const std::vector<View>& views, bool use_all)
      : landmarks_(landmarks), predictions_(predictions), use_all_(use_all) {
    for (const View& view : views) cameras_.emplace_back(view);
  }

  // The predictions that count under a hypothesis: every visible one, or those a pose is estimated from.
  Observations observe(unsigned mirrored, bool every_visible) const {
    Observations observations;
    observations.reserve(cameras_.size());
    for (const PlaneCamera& camera : cameras_) observations.emplace_back(camera, landmarks_.count);
    for (int i = 0; i < landmarks_.count; ++i) {
      if (!every_visible && !use_all_ && !visible_in_all(mirrored, i)) continue;
      const Eigen::Vector3d point = Eigen::Map<const Eigen::Vector3d>(landmarks_.points + 3 * i);
      for (int k = 0; k < static_cast<int>(cameras_.size()); ++k) {
        const std::size_t p = prediction(mirrored, k, i);
        const double weight = predictions_.weights ? predictions_.weights[p] : 1.0;
        if (!predictions_.visible[p] || weight == 0) continue;
        const Eigen::Vector2d px = Eigen::Map<const Eigen::Vector2d>(predictions_.px + 2 * p);
        observations[k].add(i, point, cameras_[k].mm_from_px * px, weight);
      }
    }
    for (ViewObservations& view : observations) view.finish();
    return observations;
  }

 private:
  // Where the prediction that a hypothesis gives to landmark i in view k is stored.
  std::size_t prediction(unsigned mirrored, int k, int i) const {
    const int source = (mirrored >> k) & 1u ? landmarks_.partner[i] : i;
    return static_cast<std::size_t>(k) * landmarks_.count + source;
  }

  bool visible_in_all(unsigned mirrored, int i) const {
    for (int k = 0; k < static_cast<int>(cameras_.size()); ++k) {
      if (!predictions_.visible[prediction(mirrored, k, i)]) return false;
    }
    return true;
  }

  LandmarkSet landmarks_;
  Predictions predictions_;
  bool use_all_;
  std::vector<PlaneCamera> cameras_;
};

// The landmarks that have at least one observation.
struct Support {
  std::vector<Eigen::Vector3d> points;
  int n_predictions = 0;
  double radius = 0;  // mm, root mean square distance from the bone's origin

  Support(const Observations& observations, int count) {
    std::vector<bool> seen(count, false);
    double squares = 0;
    for (const ViewObservations& view : observations) {
      for (int i = 0; i < view.count; ++i) {
        if (seen[view.ids[i]]) continue;
        seen[view.ids[i]] = true;
        points.push_back(view.landmark(i));
        squares += points.back().squaredNorm();
      }
      n_predictions += view.count;
    }
    if (!points.empty()) radius = std::sqrt(squares / static_cast<double>(points.size()));
  }

  bool collinear() const {
    Eigen::Vector3d centre = Eigen::Vector3d::Zero();
    for (const Eigen::Vector3d& p : points) centre += p / static_cast<double>(points.size());
    Eigen::Matrix3d spread = Eigen::Matrix3d::Zero();
    for (const Eigen::Vector3d& p : points) spread += (p - centre) * (p - centre).transpose();
    const Eigen::Vector3d variances =
        Eigen::SelfAdjointEigenSolver<Eigen::Matrix3d>().computeDirect(spread, Eigen::EigenvaluesOnly).eigenvalues();
    return !(variances[1] > kCollinear * kCollinear * variances[2]);
  }
};

// One hypothesis about which views are mirrored.
struct Hypothesis {
  TriangulationStatus status = TriangulationStatus::kOk;
  Pose world_from_bone;
  double cost = kInfinity;
  int n_used = 0;
  double radius = 0;  // mm
};

// Enough to tell the hypotheses apart; the chosen one is then refined to the last digits.
constexpr double kExplore = 1e-7, kRefine = 1e-13;

Hypothesis explore(const Frame& frame, unsigned mirrored, int count, const std::vector<View>& views,
                   const TriangulationOptions& options, const ceres::LossFunction& rho) {
  const Observations observations = frame.observe(mirrored, false);
  const Support support(observations, count);
  Hypothesis result;
  result.n_used = static_cast<int>(support.points.size());
  result.radius = support.radius;
  if (support.points.size() < 3 || support.n_predictions < 4) {
    result.status = TriangulationStatus::kTooFewPoints;
    return result;
  }
  if (support.collinear()) {
    result.status = TriangulationStatus::kCollinearPoints;
    return result;
  }
  Objective objective(observations, options.loss, rho);
  const auto search = [&](Pose start) {
    if (options.loss == Loss::kCauchy) {
      // This loss alone has minima far from the truth: it begins where Eq. 2 ends.
      const NormLoss norm;
      Objective first(observations, Loss::kNorm, norm);
      start = minimise(first, start, support.radius, kExplore).world_from_bone;
    }
    const Solution solution = minimise(objective, start, support.radius, kExplore);
    if (solution.cost < result.cost) {
      result.cost = solution.cost;
      result.world_from_bone = solution.world_from_bone;
    }
  };
  if (options.start) {
    search(*options.start);
  } else {
    for (const Pose& start : closed_form_starts(observations)) search(start);
    if (result.cost == kInfinity) search(neutral_start(views));
  }
  if (result.cost == kInfinity) result.status = TriangulationStatus::kBehindSource;
  return result;
}

// The loss over every visible prediction; infinite where a landmark lies behind a source.
double charge(const Frame& frame, unsigned mirrored, const Pose& pose, const TriangulationOptions& options,
              const ceres::LossFunction& rho) {
  const Observations observations = frame.observe(mirrored, true);
  Objective objective(observations, options.loss, rho);
  objective.evaluate(pose);
  return objective.cost();
}

}  // namespace

Triangulation triangulate(const LandmarkSet& landmarks, const Predictions& predictions, const std::vector<View>& views,
                          const TriangulationOptions& options) {
  validate_input(landmarks, predictions, views, options);
  const auto rho = make_loss(options.loss, options.loss_scale_mm);
  const Frame frame(landmarks, predictions, views, options.use_all);
  const unsigned n_hypotheses = 1u << views.size();

  std::vector<Hypothesis> hypotheses;
  Triangulation result{};
  for (unsigned h = 0; h < n_hypotheses; ++h) {
    hypotheses.push_back(explore(frame, h, landmarks.count, views, options, *rho));
    const bool posed = hypotheses[h].status == TriangulationStatus::kOk;
    result.costs.push_back(posed ? charge(frame, h, hypotheses[h].world_from_bone, options, *rho) : kInfinity);
    const double best = result.costs[result.mirrored];
    const bool fewer = std::popcount(h) < std::popcount(result.mirrored);
    if (result.costs[h] < best || (result.costs[h] == best && fewer)) result.mirrored = h;
  }

  const Hypothesis& chosen = hypotheses[result.mirrored];
  result.status = chosen.status;
  result.n_used = chosen.n_used;
  result.cost = kInfinity;
  result.residuals.assign(views.size() * landmarks.count * 2, std::nan(""));
  if (chosen.status != TriangulationStatus::kOk) return result;
  const Observations observations = frame.observe(result.mirrored, false);
  Objective objective(observations, options.loss, *rho);
  const Solution solution = minimise(objective, chosen.world_from_bone, chosen.radius, kRefine);
  if (!solution.converged) result.status = TriangulationStatus::kNoConvergence;
  result.world_from_bone = solution.world_from_bone;
  result.cost = solution.cost;
  result.costs[result.mirrored] = charge(frame, result.mirrored, solution.world_from_bone, options, *rho);
  result.covariance = covariance(observations, solution.world_from_bone, options.loss, *rho);
  for (std::size_t k = 0; k < views.size(); ++k) {
    for (int i = 0; i < observations[k].count; ++i) {
      const ProjectedBlock& block = objective.projected()[k][i / kLanes];
      double* out = &result.residuals[2 * (k * landmarks.count + observations[k].ids[i])];
      out[0] = block.residual_u[i % kLanes];
      out[1] = block.residual_v[i % kLanes];
    }
  }
  return result;
}

}  // namespace fluoropose
