// What stands in for cuda/fluoropose/cuda_labels.cu where it is not built.
#include <stdexcept>

#include "fluoropose/drr/cuda_labels.h"

namespace fluoropose {

class CudaLabels::State {};

CudaLabels::CudaLabels(const Grid<Label>&, int) {
  throw std::runtime_error("device: fluoropose was built without CUDA");
}

CudaLabels::~CudaLabels() = default;

void CudaLabels::render(const Placements&, float*) const {}  // cannot be reached

}  // namespace fluoropose
