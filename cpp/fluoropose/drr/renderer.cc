#include "fluoropose/drr/renderer.h"

#include <limits>
#include <stdexcept>

#include "fluoropose/drr/ray_cast_cpu.h"
#include "fluoropose/drr/shear_warp_cpu.h"

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

}  // namespace

Renderer::Renderer(const float* mu, const std::uint8_t* bone, int nx, int ny, int nz,
                   const Affine3<double>& bone_from_voxel, Method method, Device device)
    : grid_(mu, bone, nx, ny, nz, bone_from_voxel), method_(method) {
  if (device == Device::kCuda) cuda_ = std::make_unique<CudaRenderer>(grid_);
}

VoxelView Renderer::check(const View& view, const Affine3<double>& world_from_bone) const {
  validate(view);
  if (static_cast<std::int64_t>(view.width) * view.height > std::numeric_limits<std::int32_t>::max()) {
    throw std::invalid_argument("view: more than 2^31 pixels");
  }
  require_rigid(world_from_bone);
  return voxel_view(view, world_from_bone, grid_.voxel_from_bone());
}

void Renderer::render(const View& view, const Affine3<double>& world_from_bone, const DrrImages& out) const {
  const VoxelView seen = check(view, world_from_bone);
  if (out.mask && !has_bone()) throw std::invalid_argument("bone: the renderer was built without a bone");
  ShearPlan plan;
  const bool shear = method_ == Method::kShearWarp && plan_shear(grid_.size(), seen, plan);
  if (cuda_) {
    shear ? cuda_->shear_warp(plan, view.width, view.height, out) : cuda_->ray_cast(seen, out);
  } else {
    shear ? shear_warp_cpu(grid_, plan, view.width, view.height, out) : ray_cast_cpu(grid_, seen, out);
  }
}

void Renderer::render_jacobian(const View& view, const Affine3<double>& world_from_bone,
                               const JacobianSink& sink) const {
  const VoxelView seen = check(view, world_from_bone);
  const auto frame = [&](int axis) {
    const int nk = component(grid_.size(), axis);
    return pose_frame(view, world_from_bone, grid_.voxel_from_bone(), axis, nk);
  };
  ShearPlan plan;
  if (method_ == Method::kShearWarp && plan_shear(grid_.size(), seen, plan)) {
    shear_warp_jacobian_cpu(grid_, plan, frame(plan.axis), view.width, view.height, sink);
  } else {
    const PoseFrame frames[3] = {frame(0), frame(1), frame(2)};
    ray_cast_jacobian_cpu(grid_, seen, frames, sink);
  }
}

}  // namespace fluoropose
