#include "fluoropose/drr/renderer.h"

#include <omp.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "fluoropose/drr/adjoint_cpu.h"
#include "fluoropose/drr/ray_cast_cpu.h"
#include "fluoropose/drr/shear_warp_cpu.h"
#include "fluoropose/drr/trilinear_cpu.h"

namespace fluoropose {
namespace {

void require_rigid(const Affine3<double>& pose) {
  const auto off = [](double value, double expected) { return !(std::abs(value - expected) < 1e-5); };
  if (off(dot(pose.row0, pose.row0), 1) || off(dot(pose.row1, pose.row1), 1) || off(dot(pose.row2, pose.row2), 1) ||
      off(dot(pose.row0, pose.row1), 0) || off(dot(pose.row1, pose.row2), 0) || off(dot(pose.row2, pose.row0), 0) ||
      off(dot(cross(pose.row0, pose.row1), pose.row2), 1) || !std::isfinite(norm(pose.offset))) {
    throw std::invalid_argument("world_from_bone: expected a rigid transform");
  }
}

template <typename Grids, typename... Arguments>
Grids grid_of(Storage storage, const Arguments&... arguments) {
  if (storage == Storage::kInt16) return Grids(std::in_place_type<Grid<std::int16_t>>, arguments...);
  return Grids(std::in_place_type<Grid<float>>, arguments...);
}

void shear_warp_gradient(const Grid<float>& grid, const RayJob& job, const float* by_pixel, float* by_voxel) {
  const Slabs<float>& slabs = grid.slabs(job.plan->axis);
  const int width = job.view.width, height = job.view.height;
  std::vector<float> weights(static_cast<std::size_t>(width) * height);
  shear_warp_cpu(slabs, *job.plan, width, height, {weights.data(), nullptr, nullptr});
  std::transform(weights.begin(), weights.end(), by_pixel, weights.begin(),
                 [](float line, float gradient) { return line > 0.0f ? gradient : 0.0f; });
  std::vector<float> by_slab(slabs.mu.size());
  shear_warp_adjoint_cpu(slabs.strides, *job.plan, width, height, weights.data(), by_slab.data());
  spread(slabs, by_slab.data(), grid.slices(job.plan->axis).strides, by_voxel);
}

}  // namespace

Renderer::Renderer(const float* mu, const std::uint8_t* bone, int nx, int ny, int nz,
                   const Affine3<double>& bone_from_voxel, Method method, Device device, Storage storage, Crop crop)
    : grid_(grid_of<Grids>(storage, mu, bone, nx, ny, nz, bone_from_voxel, crop)), method_(method), crop_(crop) {
  if (device != Device::kCuda) return;
  cuda_ = std::visit([](const auto& grid) { return std::make_unique<CudaRenderer>(grid); }, grid_);
}

VoxelView Renderer::check(const View& view, const Affine3<double>& world_from_bone) const {
  validate(view);
  if (static_cast<std::int64_t>(view.width) * view.height > std::numeric_limits<std::int32_t>::max()) {
    throw std::invalid_argument("view: more than 2^31 pixels");
  }
  require_rigid(world_from_bone);
  return std::visit(
      [&](const auto& grid) { return voxel_view(view, world_from_bone, grid.voxel_from_bone(), grid.unit_per_mm()); },
      grid_);
}

template <typename Run>
void Renderer::with_job(const View& view, const Affine3<double>& world_from_bone, const Run& run) const {
  check(view, world_from_bone);
  const auto with_grid = [&](const auto& grid) {
    const auto seen_by = [&](const Affine3<double>& voxel_from_bone) {
      return voxel_view(view, world_from_bone, voxel_from_bone, grid.unit_per_mm());
    };
    const VoxelView seen = seen_by(grid.voxel_from_bone());
    if (method_ == Method::kShearWarp) {
      const int axis = shear_axis(seen);
      const auto& slabs = grid.slabs(axis);
      ShearPlan plan;
      if (plan_shear(slabs.size, seen_by(slabs.voxel_from_bone), axis, plan)) {
        const PoseFrame frame = pose_frame(view, world_from_bone, slabs.voxel_from_bone, axis, slabs.strides.nk);
        return run(grid, RayJob{seen, &plan, &frame, false});
      }
    }
    PoseFrame frames[3];
    for (int axis = 0; axis < 3; ++axis) {
      frames[axis] = pose_frame(view, world_from_bone, grid.voxel_from_bone(), axis, component(grid.size(), axis));
    }
    run(grid, RayJob{seen, nullptr, frames, method_ == Method::kTrilinear});
  };
  std::visit(with_grid, grid_);
}

void Renderer::render(const View& view, const Affine3<double>& world_from_bone, const DrrImages& out) const {
  with_job(view, world_from_bone, [&](const auto& grid, const RayJob& job) {
    if (out.mask && !grid.has_bone()) throw std::invalid_argument("bone: the renderer was built without a bone");
    if (cuda_) return cuda_->render(job, out);
    if (job.trilinear) return trilinear_cpu(grid, job.view, out);
    job.plan ? shear_warp_cpu(grid.slabs(job.plan->axis), *job.plan, view.width, view.height, out)
             : ray_cast_cpu(grid, job.view, out);
  });
}

void Renderer::render_many(const std::vector<View>& views, const std::vector<Affine3<double>>& world_from_bone,
                           float* line_integrals) const {
  // Exceptions must not leave a parallel region: bad arguments are found before it.
  for (std::size_t i = 0; i < views.size(); ++i) check(views[i], world_from_bone[i]);
  const int count = static_cast<int>(views.size());
  const int threads = cuda_ ? 1 : std::min(count, omp_get_max_threads());
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int i = 0; i < count; ++i) {
    const std::size_t n = static_cast<std::size_t>(i);
    const std::size_t pixels = static_cast<std::size_t>(views[n].width) * views[n].height;
    render(views[n], world_from_bone[n], {line_integrals + n * pixels, nullptr, nullptr});
  }
}

void Renderer::render_jacobian(const View& view, const Affine3<double>& world_from_bone,
                               const JacobianSink& sink) const {
  with_job(view, world_from_bone, [&](const auto& grid, const RayJob& job) {
    if (cuda_) return cuda_->render_jacobian(job, sink);
    if (job.trilinear) return trilinear_jacobian_cpu(grid, job.view, job.frames[2], sink);
    if (job.plan) {
      shear_warp_jacobian_cpu(grid.slabs(job.plan->axis), *job.plan, *job.frames, view.width, view.height, sink);
    } else {
      ray_cast_jacobian_cpu(grid, job.view, job.frames, sink);
    }
  });
}

void Renderer::enqueue(const View& view, const Affine3<double>& world_from_bone, float* line_integral,
                       void* stream) const {
  if (!cuda_) throw std::invalid_argument("device: expected a renderer on a CUDA device");
  with_job(view, world_from_bone,
           [&](const auto&, const RayJob& job) { cuda_->enqueue(job, {line_integral, nullptr, nullptr}, stream); });
}

void Renderer::enqueue_pose_gradient(const View& view, const Affine3<double>& world_from_bone, const float* by_pixel,
                                     double* gradient, void* stream) const {
  if (!cuda_) throw std::invalid_argument("device: expected a renderer on a CUDA device");
  with_job(view, world_from_bone,
           [&](const auto&, const RayJob& job) { cuda_->enqueue_pose_gradient(job, by_pixel, gradient, stream); });
}

void Renderer::volume_gradient(const View& view, const Affine3<double>& world_from_bone, const float* by_pixel,
                               float* by_voxel) const {
  if (method_ == Method::kTrilinear) throw std::invalid_argument("method: trilinear sums have no transpose here");
  if (crop_ != Crop::kWhole || !std::holds_alternative<Grid<float>>(grid_)) {
    throw std::invalid_argument("whole: expected a renderer of the whole volume, stored as float32");
  }
  const Grid<float>& grid = std::get<Grid<float>>(grid_);
  const Vec3<int> size = grid.size();
  std::vector<float> rimmed(static_cast<std::size_t>(size.x) * size.y * size.z);
  with_job(view, world_from_bone, [&](const auto&, const RayJob& job) {
    if (job.plan) {
      shear_warp_gradient(grid, job, by_pixel, rimmed.data());
    } else {
      const SliceStrides strides[3] = {grid.slices(0).strides, grid.slices(1).strides, grid.slices(2).strides};
      ray_cast_adjoint_cpu(size, strides, job.view, by_pixel, rimmed.data());
    }
  });
  for (int z = 0; z < size.z - 2; ++z) {
    for (int y = 0; y < size.y - 2; ++y) {
      const float* row = rimmed.data() + (static_cast<std::size_t>(z + 1) * size.y + (y + 1)) * size.x + 1;
      by_voxel = std::copy_n(row, size.x - 2, by_voxel);
    }
  }
}

}  // namespace fluoropose
