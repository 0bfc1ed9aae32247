// Levenberg and Marquardt's method on the pose of one bone (D. W. Marquardt, J. SIAM 1963): the radiographs of all
// views together become most like the fixed images.
#pragma once

#include <vector>

#include "fluoropose/drr/renderer.h"
#include "fluoropose/refinement/correlation.h"
#include "fluoropose/refinement/damped_climb.h"

namespace fluoropose {

// One view's fixed image and what is compared with it.
struct ComparedView {
  View view;
  const GradientCorrelation* similarity;  // of the view's size
  float veil;                             // see show()
  // Of the same bone, from fine to coarse, and the sides of their voxels.
  std::vector<const Renderer*> renderers;
  std::vector<double> spacings_mm;

  // The renderer whose voxels are about as large as the view's pixels at the bone's place.
  const Renderer& renderer(const Affine3<double>& world_from_bone) const {
    return *renderers[fitting(world_from_bone)];
  }
  std::size_t fitting(const Affine3<double>& world_from_bone) const;  // its number
  // memory: for the image and its derivative, to be used again for the next step.
  NormalStep step(const Affine3<double>& world_from_bone, std::vector<float>& memory) const;
};

struct LevenbergResult {
  Affine3<double> world_from_bone;
  NormalStep step;  // there: means over the views
  double at_start;  // the value
  int tried;
  bool converged;
  std::vector<double> by_view;  // values where it ended; on a CUDA device not told
};

// Where it ends from each of the starts; at the start itself where nothing is better. Throws std::invalid_argument as
// Renderer does. With all threads of OpenMP.
std::vector<LevenbergResult> climb(const std::vector<ComparedView>& views, const std::vector<Affine3<double>>& starts,
                                   const LevenbergSettings& settings);

}  // namespace fluoropose
