// What kernels see of the fixed images that moving ones are compared with, cut into patches of a block's size.
#pragma once

#include <cuda_runtime.h>

#include "fluoropose/refinement/correlation.h"
#include "fluoropose/refinement/cuda_climber.h"

namespace fluoropose::cuda {

constexpr int kFeatures = GradientCorrelation::kFeatures;
constexpr int kPatchWidth = 32, kPatchHeight = 16;

// Pixels of one view and within one tile, columns [left, right) and rows [top, bottom).
struct Patch {
  int view, left, top, right, bottom;
};

// Of one view; shares are those in the mean of all views.
struct Tile {
  int view, first_patch, last_patch;  // patches [first, last)
  double weight, shares[kFeatures];
};

struct FixedImage {
  int width, height;
  float veil;                     // see show()
  const float* weights;           // (height, width)
  const float* fixed[kFeatures];  // (height, width)
};

struct Kernels {
  int taps;
  float smooth[CudaClimber::kMostTaps], slope[CudaClimber::kMostTaps];
};

struct Comparison {
  int views;
  std::size_t plane;  // pixels of the largest view; moving images take the first of so many
  int tile_count, patch_count;
  const FixedImage* images;  // (views)
  const Tile* tiles;         // of all views, those with a weight
  const Patch* patches;      // of all tiles, those with a weight
  Kernels kernels;
};

}  // namespace fluoropose::cuda
