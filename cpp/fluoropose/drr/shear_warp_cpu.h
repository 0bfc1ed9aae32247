#pragma once

#include <vector>

#include "fluoropose/core/cpu_level.h"
#include "fluoropose/drr/images.h"
#include "fluoropose/drr/shear_warp.h"

namespace fluoropose {

// Planes of the intermediate image (plan.height, stride), first zero; for what lies behind a row see kShearPad.
class ShearPlanes {
 public:
  ShearPlanes(const ShearPlan& plan, int planes);

  int stride() const { return stride_; }
  float* plane(int i) { return memory_.data() + static_cast<std::size_t>(i) * size_; }
  const float* plane(int i) const { return memory_.data() + static_cast<std::size_t>(i) * size_; }

 private:
  int stride_;
  std::size_t size_;
  std::vector<float> memory_;
};

// The samples of the intermediate image alone, in one plane. slabs: across the plan's axis.
ShearPlanes shear_cpu(const Slabs<float>& slabs, const ShearPlan& plan);

// slabs: across the plan's axis. Fills the images of out that are not null, each (height, width), with all threads of
// OpenMP.
template <typename Voxel>
void shear_warp_cpu(const Slabs<Voxel>& slabs, const ShearPlan& plan, int width, int height, const DrrImages& out,
                    CpuLevel level = cpu_level());

// Hands the image and its derivative to sink, row by row. frame: of the plan's slice axis.
template <typename Voxel>
void shear_warp_jacobian_cpu(const Slabs<Voxel>& slabs, const ShearPlan& plan, const PoseFrame& frame, int width,
                             int height, const JacobianSink& sink, CpuLevel level = cpu_level());

}  // namespace fluoropose
