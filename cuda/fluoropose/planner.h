// Plans images on the device, as many at a time as memory is meant for.
#pragma once

#include <algorithm>

#include "device.h"
#include "fluoropose/drr/cuda_renderer.h"
#include "plans.cuh"

namespace fluoropose::cuda {

// Some of the images, planned: count of them from the first on.
struct Batch {
  std::size_t first;
  unsigned count;
  Workspace space;
};

class Planner {
 public:
  Planner(const GridFrame& grid, Method method, const Allocate& allocate)
      : grid_(grid), method_(method), jobs_(allocate), levers_(allocate), planes_(allocate) {
    if (method != Method::kShearWarp) return;
    for (int axis = 0; axis < 3; ++axis)
      levers_stride_ = std::max(levers_stride_, component(grid.slabs[axis].size, axis));
  }

  // Calls run(batch), with room for so many intermediate images per image, until all images were in one.
  template <typename At, typename Run>
  void in_batches(const At& at, int planes, cudaStream_t to, const Run& run) {
    const bool sheared = method_ == Method::kShearWarp;
    const double most = most_shear_pixels(at.size().width, at.size().height);
    Workspace space{nullptr, nullptr, levers_stride_, nullptr, planes, sheared ? static_cast<std::size_t>(most) : 0};
    const std::size_t image_bytes = planes * space.plane_size * sizeof(float) + sizeof(RayJob);
    const std::size_t total = static_cast<std::size_t>(at.count);
    const std::size_t at_once = std::clamp<std::size_t>(kMostScratch / image_bytes, 1, std::min(kMostBlocksZ, total));
    RayJob* jobs = jobs_.reserve(at_once, to);
    float* levers = levers_.reserve(at_once * static_cast<std::size_t>(levers_stride_), to);
    space.jobs = jobs, space.levers = levers, space.planes = planes_.reserve(at_once * planes * space.plane_size, to);
    for (std::size_t first = 0; first < total; first += at_once) {
      const std::size_t count = std::min(at_once, total - first);
      plan(at, first, count, jobs, levers, to);
      run(Batch{first, static_cast<unsigned>(count), space});
    }
  }

 private:
  void plan(const Placements& at, std::size_t first, std::size_t count, RayJob* jobs, float* levers,
            cudaStream_t to) const {
    const double* matrices = at.matrices ? at.matrices + 16 * first : nullptr;
    for (std::size_t n = 0; n < count; n += PlacementBatch::kMost) {
      const std::size_t some = std::min<std::size_t>(PlacementBatch::kMost, count - n);
      PlacementBatch placed{};
      std::copy_n(at.views + first + n, some, placed.views);
      if (!matrices) std::copy_n(at.world_from_bone + first + n, some, placed.world_from_bone);
      launch(plan_kernel, {static_cast<unsigned>(some)}, {32 * kPlanWarps}, to, placed, matrices, static_cast<int>(n),
             grid_, method_, jobs, levers, levers_stride_);
    }
  }

  void plan(const PlacementsOnDevice& at, std::size_t first, std::size_t count, RayJob* jobs, float* levers,
            cudaStream_t to) const {
    launch(plan_on_device_kernel, {static_cast<unsigned>(count)}, {32 * kPlanWarps}, to, at.views, at.view_count,
           at.world_from_bone, static_cast<int>(first), grid_, method_, jobs, levers, levers_stride_);
  }

  GridFrame grid_;
  Method method_;
  int levers_stride_ = 0;
  Buffer<RayJob> jobs_;
  Buffer<float> levers_;
  Buffer<float> planes_;
};

}  // namespace fluoropose::cuda
