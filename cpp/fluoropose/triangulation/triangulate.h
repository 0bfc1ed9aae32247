// From predicted landmark positions in one or more views to the pose of the bone (Zhou et al. 2021, section 2.3).
#pragma once

#include <optional>
#include <vector>

#include "fluoropose/triangulation/loss.h"
#include "fluoropose/triangulation/objective.h"
#include "fluoropose/triangulation/start.h"

namespace fluoropose {

enum class TriangulationStatus { kOk, kTooFewPoints, kCollinearPoints, kBehindSource, kNoConvergence };

struct LandmarkSet {
  int count;
  const double* points;  // (count, 3) mm, bone frame
  const int* partner;    // (count,) index of the mirrored landmark; its own index where it has none
};

struct Predictions {
  const double* px;       // (views, count, 2) ideal pixels; read where visible only
  const bool* visible;    // (views, count)
  const double* weights;  // (views, count) >= 0, of the squared distance; nullptr: all 1
};

struct TriangulationOptions {
  Loss loss = Loss::kNorm;
  double loss_scale_mm = 2.0;      // of kHuber and kCauchy
  bool use_all = false;            // all visible predictions; else those of landmarks visible in every view
  std::optional<Pose> start = {};  // else the closed-form starts, and the paper's where there is none
};

struct Triangulation {
  TriangulationStatus status;
  Pose world_from_bone;       // meaningful with kOk only
  unsigned mirrored;          // bit k: the symmetric pairs' predictions are exchanged in view k
  std::vector<double> costs;  // (2^views), index = mirrored; see triangulate
  double cost;                // the minimum of the chosen hypothesis
  int n_used;                 // landmarks that the chosen hypothesis rests on
  std::vector<double>
      residuals;  // (views, count, 2) mm on the image plane, predicted minus projected; NaN where not used
  std::optional<Matrix6d> covariance;  // see covariance.h
};

// Minimises the loss for every hypothesis "mirrored in these views" and keeps the best.
//
// Each hypothesis is minimised over the predictions it may use. Hypotheses are compared by the loss over EVERY visible
// prediction of every view at their minima: an exchange permutes the predictions within a view, so all hypotheses are
// charged for the same observations and none gains by using fewer. A hypothesis without a pose costs infinity. The
// hypothesis with fewer exchanges wins a tie.
//
// A pose needs three landmarks that are not collinear and four predictions.
//
// Throws std::invalid_argument, naming the argument, for no view or more than eight, and for values that are not
// finite, weights below zero, or partners that are not each other's.
Triangulation triangulate(const LandmarkSet& landmarks, const Predictions& predictions, const std::vector<View>& views,
                          const TriangulationOptions& options);

}  // namespace fluoropose
