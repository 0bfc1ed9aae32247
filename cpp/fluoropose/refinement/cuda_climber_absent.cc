// What stands in for cuda/fluoropose/cuda_climber.cu where it is not built.
#include "fluoropose/refinement/cuda_climber.h"

#include <stdexcept>

namespace fluoropose {

class CudaClimber::State {};

CudaClimber::CudaClimber(int) { throw std::runtime_error("device: fluoropose was built without CUDA"); }

CudaClimber::~CudaClimber() = default;

// Cannot be reached without a climber.
std::vector<LevenbergResult> CudaClimber::climb(const std::vector<ComparedView>&, const std::vector<Affine3<double>>&,
                                                const LevenbergSettings&) const {
  return {};
}

}  // namespace fluoropose
