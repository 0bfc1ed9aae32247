// Gradient correlation (G. P. Penney et al., IEEE Trans. Med. Imaging 1998) as a sum of squares: the mean over tiles
// and over the derivatives along u and v of their normalised cross-correlation with those of one fixed image.
//
// With A^ = (A - mean) / |A - mean|, and B^ likewise, 1 - NCC = |B^ - A^|^2 / 2. So the residuals B^ - A^ have the
// derivative (1 - B^ B^T) P dB / |P B|, P taking away the mean, and all that a Gauss-Newton step needs are the weighted
// products of the images 1, A, B and dB with each other, which one pass over the rows gathers.
#pragma once

#include <vector>

#include "fluoropose/refinement/normal_step.h"

namespace fluoropose {

class GradientCorrelation {
 public:
  // fixed, weights: (height, width), finite, weights >= 0. smooth, slope: kernels of odd length, the Gaussian and its
  // derivative, as correlations; beyond the image there are zeros. tile_px: side of the tiles; 0: one for all.
  GradientCorrelation(const float* fixed, const float* weights, int width, int height, std::vector<float> smooth,
                      std::vector<float> slope, int tile_px);

  int width() const { return width_; }
  int height() const { return height_; }
  double counted() const { return counted_; }  // pixels with a weight

  // Features: the derivatives along u and v.
  static constexpr int kFeatures = 2;

  // What the comparison is made of, as long as it lives.
  struct Parts {
    const std::vector<float>&smooth, &slope;
    int tile_px, tiles_per_row;
    const float* weights;                           // (height, width)
    const float* fixed[kFeatures];                  // (height, width): P A / |P A| within each tile
    const double *weight_sums, *shares[kFeatures];  // of the tiles
  };
  Parts parts() const;

  // moving: (height, width).
  double value(const float* moving) const;
  // jacobian: (6, height, width), the derivative of moving.
  NormalStep step(const float* moving, const float* jacobian) const;
  // How alike moving is through each veil (see show()); the number of the best, 0 where none says anything.
  int best_veil(const float* moving, const std::vector<float>& veils) const;

 private:
  struct Extent {
    int first, last;  // columns that count, [first, last)
  };

  template <int kPlanes>
  std::vector<Moments<kPlanes>> gather(const float* const* planes) const;
  template <int kPlanes>
  NormalStep compare(const float* const* planes) const;
  // Calls use(v, u, end, t) with the columns [u, end) of row v that lie within tile t, from the top down.
  template <typename Use>
  void each_piece(const Use& use) const;
  void prepare(const float* fixed);

  int width_, height_, tile_px_, tiles_per_row_, tiles_;
  int reach_;  // of the kernels
  std::vector<float> smooth_, slope_;
  std::vector<float> weights_;
  std::vector<Extent> rows_;
  int top_, bottom_;                       // rows that count, [top, bottom)
  std::vector<double> weight_sums_;        // of the tiles
  std::vector<float> fixed_[kFeatures];    // P A / |P A| within each tile
  std::vector<double> shares_[kFeatures];  // of the tiles in the value; they sum to 1 over the features
  double counted_ = 0;
};

}  // namespace fluoropose
