// Levenberg and Marquardt's method on a CUDA device. This header needs no CUDA; without a build for it, no climber can
// be made.
#pragma once

#include <memory>
#include <vector>

#include "fluoropose/refinement/levenberg.h"

namespace fluoropose {

// The device's memory for climbs. All starts climb at the same time, and the device decides on every step: the host
// only hears now and then whether all are finished. From call to call the memory is kept; calls from several threads
// take turns. The same call gives the same numbers, bit for bit.
class CudaClimber {
 public:
  // device: see Renderer::cuda_device(). Throws std::runtime_error where there is none or CUDA reports an error; so
  // does climb().
  explicit CudaClimber(int device);
  ~CudaClimber();

  static constexpr int kMostTaps = 33;  // of the kernels of the gradients
  static constexpr int kMostViews = 16;

  // See fluoropose::climb(), for renderers on the climber's device, with two differences: all starts and views are
  // rendered from the same volume, the finest that a view asks for at the first start, and at most so many taps and
  // views are allowed. Throws std::invalid_argument as Renderer does, and where these do not hold.
  std::vector<LevenbergResult> climb(const std::vector<ComparedView>& views, const std::vector<Affine3<double>>& starts,
                                     const LevenbergSettings& settings) const;

  class State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace fluoropose
