#include "fluoropose/drr/label_renderer.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "fluoropose/drr/label_paths.h"

namespace fluoropose {

LabelRenderer::LabelRenderer(const float* labels, int count, int nx, int ny, int nz,
                             const Affine3<double>& bone_from_voxel, Device device)
    : voxels_(device == Device::kCpu
                  ? Voxels(std::in_place_type<Grid<Label>>, labels, nullptr, nx, ny, nz, bone_from_voxel)
                  : Voxels(std::in_place_type<CudaLabels>, Grid<Label>(labels, nullptr, nx, ny, nz, bone_from_voxel),
                           count)),
      count_(count) {}

int LabelRenderer::cuda_device() const {
  const CudaLabels* cuda = std::get_if<CudaLabels>(&voxels_);
  return cuda ? cuda->device() : -1;
}

const CudaLabels& LabelRenderer::on_device(const Placements& at) const {
  const CudaLabels* cuda = std::get_if<CudaLabels>(&voxels_);
  if (!cuda) throw std::invalid_argument("device: expected a renderer on a CUDA device");
  require_placed(at);
  return *cuda;
}

void LabelRenderer::render(const View& view, const Affine3<double>& world_from_bone, float* paths) const {
  require_placed(view, world_from_bone);
  if (const CudaLabels* cuda = std::get_if<CudaLabels>(&voxels_)) {
    return cuda->render_to_host({1, &view, &world_from_bone, nullptr}, paths);
  }
  const Grid<Label>& grid = std::get<Grid<Label>>(voxels_);
  const RayJob job = ray_job(view, world_from_bone, grid.frame(), Method::kRayCast);
  const std::size_t plane = static_cast<std::size_t>(view.width) * view.height;
  std::fill_n(paths, plane * static_cast<std::size_t>(count_), 0.0f);
  const Bricks bricks = grid.bricks();
  const Slices<Label> across[3] = {grid.rows(0), grid.rows(1), grid.rows(2)};
#pragma omp parallel for schedule(dynamic, 2)
  for (int v = 0; v < view.height; ++v) {
    for (int u = 0; u < view.width; ++u) {
      JosephRay ray = joseph_ray(grid.size(), job.view, u, v);
      trim_ray(bricks, ray);
      float* const pixel = paths + static_cast<std::size_t>(v) * view.width + u;
      cast_labels(across[ray.axis], ray,
                  [&](Label label, float samples) { pixel[(label - 1) * plane] += samples * ray.step_mm; });
    }
  }
}

}  // namespace fluoropose
