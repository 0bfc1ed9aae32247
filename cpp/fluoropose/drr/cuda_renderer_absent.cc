// What stands in for cuda/fluoropose/*.cu where they are not built.
#include <stdexcept>

#include "fluoropose/drr/cuda_renderer.h"

namespace fluoropose {

class CudaRenderer::State {};

bool built_with_cuda() { return false; }

int cuda_device_count() { return 0; }

template <typename Voxel>
CudaRenderer::CudaRenderer(const Grid<Voxel>&, Method) {
  throw std::runtime_error("device: fluoropose was built without CUDA");
}
template CudaRenderer::CudaRenderer(const Grid<float>&, Method);
template CudaRenderer::CudaRenderer(const Grid<std::int16_t>&, Method);

CudaRenderer::CudaRenderer(const float*, const GridFrame&, Method, const DeviceLoan&) {
  throw std::runtime_error("device: fluoropose was built without CUDA");
}

CudaRenderer::~CudaRenderer() = default;

// None of these can be reached without a renderer.
int CudaRenderer::device() const { return -1; }
const GridFrame& CudaRenderer::frame() const {
  static const GridFrame none{};
  return none;
}
void CudaRenderer::images(const Placements&, const DrrImages&, void*) const {}
void CudaRenderer::pose_gradients(const Placements&, const float*, double*, void*) const {}
void CudaRenderer::normal_equations(const Placements&, const float*, const float*, const NormalArrays&, void*) const {}
void CudaRenderer::volume_gradient(const Placements&, const float*, float*, void*) const {}
void CudaRenderer::jacobians(const PlacementsOnDevice&, float*, float*, void*) const {}
void CudaRenderer::images_to_host(const Placements&, const DrrImages&) const {}
void CudaRenderer::jacobian_to_host(const Placements&, float*, float*) const {}
void CudaRenderer::pose_gradient_to_host(const Placements&, const float*, double*) const {}
void CudaRenderer::normal_equations_to_host(const Placements&, const float*, const float*, const NormalArrays&) const {}
void CudaRenderer::volume_gradient_to_host(const Placements&, const float*, float*) const {}

}  // namespace fluoropose
