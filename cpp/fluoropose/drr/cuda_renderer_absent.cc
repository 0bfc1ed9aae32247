// What stands in for cuda/fluoropose/cuda_renderer.cu where it is not built.
#include <stdexcept>

#include "fluoropose/drr/cuda_renderer.h"

namespace fluoropose {

class CudaRenderer::State {};

bool built_with_cuda() { return false; }

int cuda_device_count() { return 0; }

template <typename Voxel>
CudaRenderer::CudaRenderer(const Grid<Voxel>&) {
  throw std::runtime_error("device: fluoropose was built without CUDA");
}
template CudaRenderer::CudaRenderer(const Grid<float>&);
template CudaRenderer::CudaRenderer(const Grid<std::int16_t>&);

CudaRenderer::~CudaRenderer() = default;

void CudaRenderer::render(const RayJob&, const DrrImages&) const {}

void CudaRenderer::render_jacobian(const RayJob&, const JacobianSink&) const {}

void CudaRenderer::enqueue(const RayJob&, const DrrImages&, void*) const {}

void CudaRenderer::enqueue_pose_gradient(const RayJob&, const float*, double*, void*) const {}

}  // namespace fluoropose
