#include "fluoropose/drr/ray_cast_cpu.h"

#include <algorithm>
#include <vector>

#include "fluoropose/drr/jacobian_sinks.h"
#include "fluoropose/drr/packet_rays.h"

namespace fluoropose {
namespace {

// What marches together, pixels.
constexpr int kTileWidth = 64 * kPacketSide, kTileHeight = 4 * kPacketSide;

// What all tiles of an image share.
template <typename Voxel>
struct Caster {
  const Grid<Voxel>& grid;
  const VoxelView& view;
  March<Voxel> march;

  // Calls use(packet) for every packet of rows v0 .. v0 + kTileHeight - 1, its rays summed.
  template <typename Use>
  void cast_rows(int v0, const Use& use) const {
    const Bricks bricks = grid.bricks();
    Packets packets;
    for (int u0 = 0; u0 < view.width; u0 += kTileWidth) {
      for (int v = v0; v < std::min(v0 + kTileHeight, view.height); v += kPacketSide) {
        for (int u = u0; u < std::min(u0 + kTileWidth, view.width); u += kPacketSide) {
          add_packets(grid.size(), bricks, view, u, v, packets);
        }
      }
      for (int axis = 0; axis < 3; ++axis) {
        if (packets[axis].empty()) continue;
        march(grid.rows(axis), packets[axis].data(), static_cast<int>(packets[axis].size()));
        for (const RayPacket& packet : packets[axis]) use(packet);
        packets[axis].clear();
      }
    }
  }
};

// Calls use(u, v, lane) for every pixel that counts.
template <typename Use>
void each_pixel(const RayPacket& p, const Use& use) {
  for (int l = 0; l < kPacketRays; ++l) {
    if (p.counts[l]) use(p.u + l % kPacketSide, p.v + l / kPacketSide, l);
  }
}

void store_image(const RayPacket& p, int width, const DrrImages& out) {
  each_pixel(p, [&](int u, int v, int l) {
    const RaySums sums{p.line[l], p.bone[l], p.nearest_bone[l]};
    out.mask ? store_pixel<true>(sums, p.step_mm[l], v * width + u, out)
             : store_pixel<false>(sums, p.step_mm[l], v * width + u, out);
  });
}

void store_derivatives(const RayPacket& p, const PoseFrame& frame, int v0, std::vector<JacobianBuffer>& rows) {
  each_pixel(p, [&](int u, int v, int l) {
    JacobianBuffer& row = rows[static_cast<std::size_t>(v - v0)];
    const float line = p.line[l] * p.step_mm[l];
    row.line()[u] = line;
    store_derivative(pose_derivative(frame, static_cast<float>(u), static_cast<float>(v), line, p.step_mm[l],
                                     {p.a0[l], p.a1[l], p.b0[l], p.b1[l]}),
                     u, row.pose());
  });
}

}  // namespace

template <typename Voxel>
void ray_cast_cpu(const Grid<Voxel>& grid, const VoxelView& view, const DrrImages& out, CpuLevel level) {
  const Caster<Voxel> caster{grid, view, march_for<Voxel>(out.mask ? Gather::kBone : Gather::kLine, level)};
#pragma omp parallel for schedule(dynamic, 1)
  for (int v = 0; v < view.height; v += kTileHeight) {
    caster.cast_rows(v, [&](const RayPacket& packet) { store_image(packet, view.width, out); });
  }
}

template <typename Voxel>
void ray_cast_jacobian_cpu(const Grid<Voxel>& grid, const VoxelView& view, const PoseFrame frames[3],
                           const JacobianSink& sink, CpuLevel level) {
  const Caster<Voxel> caster{grid, view, march_for<Voxel>(Gather::kGradient, level)};
#pragma omp parallel
  {
    std::vector<JacobianBuffer> rows;
    rows.reserve(kTileHeight);
    for (int j = 0; j < kTileHeight; ++j) rows.emplace_back(view.width);
#pragma omp for schedule(dynamic, 1)
    for (int v = 0; v < view.height; v += kTileHeight) {
      caster.cast_rows(v, [&](const RayPacket& p) { store_derivatives(p, frames[p.axis], v, rows); });
      for (int j = 0; j < std::min(kTileHeight, view.height - v); ++j)
        sink(rows[static_cast<std::size_t>(j)].at(v + j));
    }
  }
}

#define FLUOROPOSE_FOR(Voxel)                                                                          \
  template void ray_cast_cpu(const Grid<Voxel>&, const VoxelView&, const DrrImages&, CpuLevel);        \
  template void ray_cast_jacobian_cpu(const Grid<Voxel>&, const VoxelView&, const PoseFrame frames[3], \
                                      const JacobianSink&, CpuLevel);
FLUOROPOSE_FOR(float)
FLUOROPOSE_FOR(std::int16_t)
#undef FLUOROPOSE_FOR

}  // namespace fluoropose
