// What stands in for cuda/fluoropose/cuda_labels.cu where it is not built.
#include <stdexcept>

#include "fluoropose/drr/cuda_labels.h"

namespace fluoropose {

class CudaLabels::State {};

CudaLabels::CudaLabels(const Grid<Label>&, int) {
  throw std::runtime_error("device: fluoropose was built without CUDA");
}

CudaLabels::~CudaLabels() = default;

// None of these can be reached without labels.
int CudaLabels::device() const { return -1; }
void CudaLabels::render(const Placements&, float*, void*) const {}
void CudaLabels::render_to_host(const Placements&, float*) const {}

}  // namespace fluoropose
