#include "fluoropose/drr/trilinear_cpu.h"

#include <cstdint>

#include "fluoropose/drr/jacobian_sinks.h"

namespace fluoropose {

template <typename Voxel>
void trilinear_cpu(const Grid<Voxel>& grid, const VoxelView& view, const DrrImages& out) {
  const Slices<Voxel> slices = grid.slices(2);
#pragma omp parallel for schedule(dynamic, 2)
  for (int v = 0; v < view.height; ++v) {
    for (int u = 0; u < view.width; ++u) {
      const TrilinearRay ray = trilinear_ray(grid.size(), view, u, v);
      const int index = v * view.width + u;
      out.mask ? store_pixel<true>(cast_trilinear<true>(slices, ray), ray.step_mm, index, out)
               : store_pixel<false>(cast_trilinear<false>(slices, ray), ray.step_mm, index, out);
    }
  }
}

template <typename Voxel>
void trilinear_jacobian_cpu(const Grid<Voxel>& grid, const VoxelView& view, const PoseFrame& frame,
                            const JacobianSink& sink) {
  const Slices<Voxel> slices = grid.slices(2);
  const Vec3<float> origin = grid.voxel_from_bone().offset.template cast<float>();
#pragma omp parallel
  {
    JacobianBuffer row(view.width);
#pragma omp for schedule(dynamic, 2)
    for (int v = 0; v < view.height; ++v) {
      for (int u = 0; u < view.width; ++u) {
        PoseDerivative d;
        const TrilinearRay ray = trilinear_ray(grid.size(), view, u, v);
        row.line()[u] = cast_trilinear_jacobian(slices, ray, frame, origin, d);
        store_derivative(d, u, row.pose());
      }
      sink(row.at(v));
    }
  }
}

#define FLUOROPOSE_FOR(Voxel)                                                          \
  template void trilinear_cpu(const Grid<Voxel>&, const VoxelView&, const DrrImages&); \
  template void trilinear_jacobian_cpu(const Grid<Voxel>&, const VoxelView&, const PoseFrame&, const JacobianSink&);
FLUOROPOSE_FOR(float)
FLUOROPOSE_FOR(std::int16_t)
#undef FLUOROPOSE_FOR

}  // namespace fluoropose
