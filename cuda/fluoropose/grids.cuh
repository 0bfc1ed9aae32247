// Kernels that bring a grid's voxels into the orders that rays read, and find where there are any.
#pragma once

#include "fluoropose/volume/slabs.h"
#include "workspace.cuh"

namespace fluoropose::cuda {

// grid: of the voxels mu (nz, ny, nx) within a rim of zeros, size voxels along x, y, z.
template <typename Voxel>
__global__ void rim_kernel(const Voxel* mu, Vec3<int> size, Voxel* grid) {
  const unsigned nx = size.x, ny = size.y, nz = size.z;
  for_each_element(nx * ny * nz, [&](unsigned i) {
    const unsigned x = i % nx, y = i / nx % ny, z = i / nx / ny;
    const bool inside = x > 0 && y > 0 && z > 0 && x < nx - 1 && y < ny - 1 && z < nz - 1;
    grid[i] = inside ? mu[((z - 1) * (ny - 2) + y - 1) * (nx - 2) + x - 1] : Voxel{0};
  });
}

constexpr unsigned kTurnSide = 32, kTurnRows = 8;  // of a tile, and of the block that turns it

FLUOROPOSE_HD unsigned turn_tiles(int side) { return (static_cast<unsigned>(side) + kTurnSide - 1) / kTurnSide; }

// to: the grid stored with y fastest and x slowest. Tiles of it pass through shared memory, so that both sides are read
// and written along their rows.
template <typename Voxel>
__global__ void turn_kernel(const Voxel* grid, Vec3<int> size, Voxel* to) {
  __shared__ Voxel tile[kTurnSide][kTurnSide + 1];
  const unsigned nx = size.x, ny = size.y, nz = size.z, lane = threadIdx.x;
  const unsigned columns = turn_tiles(size.x), rows = turn_tiles(size.y);
  for (unsigned n = blockIdx.x; n < columns * rows * nz; n += gridDim.x) {
    const unsigned x0 = n % columns * kTurnSide, y0 = n / columns % rows * kTurnSide, z = n / columns / rows;
    for (unsigned j = threadIdx.y; j < kTurnSide; j += kTurnRows) {
      if (x0 + lane < nx && y0 + j < ny) tile[j][lane] = grid[(z * ny + y0 + j) * nx + x0 + lane];
    }
    __syncthreads();
    for (unsigned j = threadIdx.y; j < kTurnSide; j += kTurnRows) {
      if (x0 + j < nx && y0 + lane < ny) to[((x0 + j) * nz + z) * ny + y0 + lane] = tile[lane][j];
    }
    __syncthreads();
  }
}

// slabs: of strides to, of a grid's slices with strides from, both with neighbours along a side by side.
template <typename Voxel>
__global__ void slab_kernel(const Voxel* slices, SliceStrides from, SliceStrides to, int thickness, Voxel* slabs) {
  for_each_element(static_cast<unsigned>(to.k) * to.nk, [&](unsigned i) {
    const int m = static_cast<int>(i / to.k), within = static_cast<int>(i % to.k);
    if (m == 0 || m == to.nk - 1) {
      slabs[i] = Voxel{0};
      return;
    }
    const Voxel* at = slices + within % to.na + within / to.na * from.b;
    const SlabSlices of = slices_of(m, thickness, from.nk);
    slabs[i] = mean(at[of.first * from.k], at[of.second * from.k]);
  });
}

// filled: zero before; see fill_brick().
template <typename Voxel>
__global__ void fill_bricks_kernel(const Voxel* grid, Vec3<int> size, std::uint8_t* filled) {
  const unsigned bricks = bricks_of(size).x, ny = size.y, nz = size.z;
  for_each_element(bricks * ny * nz, [&](unsigned i) {
    fill_brick(grid, size, static_cast<int>(i % bricks), static_cast<int>(i / bricks % ny),
               static_cast<int>(i / bricks / ny), filled);
  });
}

static __global__ void busy_bricks_kernel(const std::uint8_t* filled, Vec3<int> bricks, std::uint8_t* busy) {
  const unsigned nx = bricks.x, ny = bricks.y, nz = bricks.z;
  for_each_element(nx * ny * nz, [&](unsigned i) {
    busy[i] = filled_near(filled, bricks, static_cast<int>(i % nx), static_cast<int>(i / nx % ny),
                          static_cast<int>(i / nx / ny));
  });
}

}  // namespace fluoropose::cuda
