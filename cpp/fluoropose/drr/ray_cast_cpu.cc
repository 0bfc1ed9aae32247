#include "fluoropose/drr/ray_cast_cpu.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "fluoropose/drr/jacobian_sinks.h"
#include "fluoropose/drr/ray_packet.h"

namespace fluoropose {
namespace {

// Pixels (u0 .. u0 + width - 1, v0 .. v0 + height - 1) of the image.
struct Tile {
  int u0, v0, width, height;
  JosephRay rays[kTilePackets][kPacketRays];
  RayPacket packets[kTilePackets];  // one per row
};

// The rays of a row of the tile that follow an axis one way. All slices that any of these is summed in lie on the same
// side of a source within the grid, so that each may be summed in all of them.
void fill_packet(const JosephRay* rays, int count, int axis, int way, RayPacket& p) {
  const auto marches = [&](int l) {
    return l < count && rays[l].axis == axis && rays[l].dk == way && rays[l].count > 0;
  };
  p.begin = std::numeric_limits<int>::max(), p.end = 0;
  p.left = count - 1, p.right = 0;
  for (int l = 0; l < count; ++l) {
    if (!marches(l)) continue;
    const int from = rays[l].k, to = from + (rays[l].count - 1) * way;
    p.begin = std::min({p.begin, from, to}), p.end = std::max({p.end, from + 1, to + 1});
    p.left = std::min(p.left, l), p.right = l;
  }
  for (int l = 0; l < kPacketRays; ++l) {
    p.a[l] = p.b[l] = -1.0f, p.da[l] = p.db[l] = 0.0f;
    if (!marches(l)) continue;
    const JosephRay& ray = rays[l];
    const float back = static_cast<float>(way * (p.begin - ray.k));
    p.a[l] = ray.a + back * ray.da, p.b[l] = ray.b + back * ray.db;
    p.da[l] = ray.da * static_cast<float>(way), p.db[l] = ray.db * static_cast<float>(way);
  }
}

// What all tiles of an image share.
template <typename Voxel>
struct Caster {
  const Grid<Voxel>& grid;
  const VoxelView& view;
  March<Voxel> march;

  // Casts the tile's rays and leaves their sums in its packets.
  void cast(Tile& tile) const {
    const Bricks bricks = grid.bricks();
    bool met[3][2] = {};
    for (int j = 0; j < tile.height; ++j) {
      for (int l = 0; l < tile.width; ++l) {
        JosephRay& ray = tile.rays[j][l];
        ray = joseph_ray(grid.size(), view, tile.u0 + l, tile.v0 + j);
        trim_ray(bricks, ray);
        met[ray.axis][ray.dk > 0] |= ray.count > 0;
      }
      tile.packets[j] = {};
    }
    for (int axis = 0; axis < 3; ++axis) {
      for (const int way : {-1, 1}) {
        if (!met[axis][way > 0]) continue;
        for (int j = 0; j < tile.height; ++j) fill_packet(tile.rays[j], tile.width, axis, way, tile.packets[j]);
        march(grid.rows(axis), tile.packets, tile.height);
      }
    }
  }

  // Calls use(tile) for the tiles of rows v0 .. v0 + kTilePackets - 1.
  template <typename Use>
  void cast_rows(int v0, const Use& use) const {
    Tile tile;
    tile.v0 = v0, tile.height = std::min(kTilePackets, view.height - v0);
    for (tile.u0 = 0; tile.u0 < view.width; tile.u0 += kPacketRays) {
      tile.width = std::min(kPacketRays, view.width - tile.u0);
      cast(tile);
      use(tile);
    }
  }
};

void store_image(const Tile& tile, int width, const DrrImages& out) {
  for (int j = 0; j < tile.height; ++j) {
    const RayPacket& p = tile.packets[j];
    for (int l = 0; l < tile.width; ++l) {
      const RaySums sums{p.line[l], p.bone[l], p.nearest_bone[l]};
      const int index = (tile.v0 + j) * width + tile.u0 + l;
      out.mask ? store_pixel<true>(sums, tile.rays[j][l].step_mm, index, out)
               : store_pixel<false>(sums, tile.rays[j][l].step_mm, index, out);
    }
  }
}

void store_row(const Tile& tile, int j, const PoseFrame frames[3], JacobianBuffer& row) {
  const RayPacket& p = tile.packets[j];
  for (int l = 0; l < tile.width; ++l) {
    const JosephRay& ray = tile.rays[j][l];
    const int u = tile.u0 + l;
    const float line = p.line[l] * ray.step_mm;
    const PoseDerivative d = pose_derivative(frames[ray.axis], static_cast<float>(u), static_cast<float>(tile.v0 + j),
                                             line, ray.step_mm, {p.a0[l], p.a1[l], p.b0[l], p.b1[l]});
    row.line()[u] = line;
    const float values[6] = {d.omega.x, d.omega.y, d.omega.z, d.v.x, d.v.y, d.v.z};
    for (int i = 0; i < 6; ++i) row.pose()[i][u] = values[i];
  }
}

}  // namespace

template <typename Voxel>
void ray_cast_cpu(const Grid<Voxel>& grid, const VoxelView& view, const DrrImages& out, CpuLevel level) {
  const Caster<Voxel> caster{grid, view, march_for<Voxel>(out.mask ? Gather::kBone : Gather::kLine, level)};
#pragma omp parallel for schedule(dynamic, 1)
  for (int v = 0; v < view.height; v += kTilePackets) {
    caster.cast_rows(v, [&](const Tile& tile) { store_image(tile, view.width, out); });
  }
}

template <typename Voxel>
void ray_cast_jacobian_cpu(const Grid<Voxel>& grid, const VoxelView& view, const PoseFrame frames[3],
                           const JacobianSink& sink, CpuLevel level) {
  const Caster<Voxel> caster{grid, view, march_for<Voxel>(Gather::kGradient, level)};
#pragma omp parallel
  {
    std::vector<JacobianBuffer> rows;
    rows.reserve(kTilePackets);
    for (int j = 0; j < kTilePackets; ++j) rows.emplace_back(view.width);
#pragma omp for schedule(dynamic, 1)
    for (int v = 0; v < view.height; v += kTilePackets) {
      caster.cast_rows(v, [&](const Tile& tile) {
        for (int j = 0; j < tile.height; ++j) store_row(tile, j, frames, rows[static_cast<std::size_t>(j)]);
      });
      for (int j = 0; j < std::min(kTilePackets, view.height - v); ++j)
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
