// How the rays of one image go through a grid. Bodies for CPU and CUDA.
#pragma once

#include "fluoropose/drr/pose_jacobian.h"
#include "fluoropose/drr/shear_plan.h"
#include "fluoropose/volume/grid_frame.h"

namespace fluoropose {

enum class Method { kRayCast, kShearWarp, kTrilinear };

// kNowhere: the pose is not rigid; pixels are NaN.
enum class Way { kCast, kShear, kSample, kNowhere };

struct RayJob {
  Way way;
  VoxelView view;       // as the grid sees it
  ShearPlan plan;       // kShear only
  PoseFrame frames[3];  // of slices across each axis; of the plan's axis: of its slabs
};

FLUOROPOSE_HD bool is_rigid(const Affine3<double>& m) {
  const auto near = [](double value, double expected) { return fabs(value - expected) < 1e-5; };
  return near(dot(m.row0, m.row0), 1) && near(dot(m.row1, m.row1), 1) && near(dot(m.row2, m.row2), 1) &&
         near(dot(m.row0, m.row1), 0) && near(dot(m.row1, m.row2), 0) && near(dot(m.row2, m.row0), 0) &&
         near(dot(cross(m.row0, m.row1), m.row2), 1) && norm(m.offset) < 1e300;
}

// A job's way, view and plan. Shear-warp gives way to ray casting where plan_shear() says that it must.
FLUOROPOSE_HD void plan_way(const View& view, const Affine3<double>& world_from_bone, const GridFrame& grid,
                            Method method, RayJob& job) {
  const auto seen_by = [&](const Affine3<double>& voxel_from_bone) {
    return voxel_view(view, world_from_bone, voxel_from_bone, grid.unit_per_mm);
  };
  job.view = seen_by(grid.voxel_from_bone);
  job.way = method == Method::kTrilinear ? Way::kSample : Way::kCast;
  if (!is_rigid(world_from_bone)) job.way = Way::kNowhere;
  if (method != Method::kShearWarp || job.way == Way::kNowhere) return;
  const int axis = shear_axis(job.view);
  const SlabFrame& slabs = grid.slabs[axis];
  if (plan_shear(slabs.size, seen_by(slabs.voxel_from_bone), axis, job.plan)) job.way = Way::kShear;
}

// The frame of slices across an axis, or of the slabs there.
FLUOROPOSE_HD PoseFrame plan_frame(const View& view, const Affine3<double>& world_from_bone, const GridFrame& grid,
                                   int axis, bool of_slabs) {
  const SlabFrame& slabs = grid.slabs[axis];
  return pose_frame(view, world_from_bone, of_slabs ? slabs.voxel_from_bone : grid.voxel_from_bone, axis,
                    component(of_slabs ? slabs.size : grid.size, axis));
}

FLUOROPOSE_HD bool shears(const RayJob& job, int axis) { return job.way == Way::kShear && job.plan.axis == axis; }

FLUOROPOSE_HD RayJob ray_job(const View& view, const Affine3<double>& world_from_bone, const GridFrame& grid,
                             Method method) {
  RayJob job{};
  plan_way(view, world_from_bone, grid, method, job);
  for (int axis = 0; axis < 3; ++axis) {
    job.frames[axis] = plan_frame(view, world_from_bone, grid, axis, shears(job, axis));
  }
  return job;
}

}  // namespace fluoropose
