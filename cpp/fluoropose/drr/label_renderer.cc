#include "fluoropose/drr/label_renderer.h"

#include <algorithm>

#include "fluoropose/drr/label_paths.h"

namespace fluoropose {

LabelRenderer::LabelRenderer(const float* labels, int count, int nx, int ny, int nz,
                             const Affine3<double>& bone_from_voxel, Device device)
    : grid_(labels, nullptr, nx, ny, nz, bone_from_voxel), frame_(grid_.frame()), count_(count) {
  if (device == Device::kCuda) cuda_ = std::make_unique<CudaLabels>(grid_, count);
}

void LabelRenderer::render(const View& view, const Affine3<double>& world_from_bone, float* paths) const {
  require_placed(view, world_from_bone);
  if (cuda_) return cuda_->render({1, &view, &world_from_bone, nullptr}, paths);
  const RayJob job = ray_job(view, world_from_bone, frame_, Method::kRayCast);
  const std::size_t plane = static_cast<std::size_t>(view.width) * view.height;
  std::fill_n(paths, plane * static_cast<std::size_t>(count_), 0.0f);
  const Bricks bricks = grid_.bricks();
  const Slices<Label> across[3] = {grid_.rows(0), grid_.rows(1), grid_.rows(2)};
#pragma omp parallel for schedule(dynamic, 2)
  for (int v = 0; v < view.height; ++v) {
    for (int u = 0; u < view.width; ++u) {
      JosephRay ray = joseph_ray(frame_.size, job.view, u, v);
      trim_ray(bricks, ray);
      float* const pixel = paths + static_cast<std::size_t>(v) * view.width + u;
      cast_labels(across[ray.axis], ray,
                  [&](Label label, float samples) { pixel[(label - 1) * plane] += samples * ray.step_mm; });
    }
  }
}

}  // namespace fluoropose
