// A grid's voxels in the memory of the device.
#pragma once

#include <array>

#include "device.h"
#include "fluoropose/drr/cuda_renderer.h"
#include "fluoropose/volume/grid.h"
#include "grids.cuh"

namespace fluoropose::cuda {

inline const dim3 kBlock(kBlockWidth, kBlockHeight), kBlockOfParts(kBlockWidth, kBlockHeight, kParts);

inline unsigned blocks_for(const ImageSize& size) {
  const auto tiles = [](int side, unsigned block) { return (static_cast<unsigned>(side) + block - 1) / block; };
  return tiles(size.width, kBlock.x) * tiles(size.height, kBlock.y);
}

// Voxels in all the orders that rays read.
template <typename Voxel>
class OrderedVoxels {
 public:
  explicit OrderedVoxels(const Allocate& allocate)
      : grid_(allocate), turned_(allocate), slabs_(three<Voxel>(allocate)) {}

  // x fastest, z slowest, rim included; to be filled before arrange().
  Buffer<Voxel>& grid() { return grid_; }

  void arrange(const GridFrame& frame, bool slabs, cudaStream_t stream) {
    const Vec3<int>& size = frame.size;
    const std::size_t tiles = static_cast<std::size_t>(turn_tiles(size.x)) * turn_tiles(size.y) * size.z;
    launch(turn_kernel<Voxel>, {striding_blocks(tiles)}, {kTurnSide, kTurnRows}, stream, grid_.data(), size,
           turned_.reserve(volume_of(size)));
    for (int axis = 0; slabs && axis < 3; ++axis) {
      const SlabFrame& to = frame.slabs[axis];
      const std::size_t count = volume_of(to.size);
      launch_each(count, slab_kernel<Voxel>, stream, across(axis), strides_across(size, axis),
                  row_strides(to.size, axis), to.thickness, slabs_[axis].reserve(count));
    }
  }

  const Voxel* across(int axis) const { return axis == 0 ? turned_.data() : grid_.data(); }
  const Voxel* slabs(int axis) const { return slabs_[axis].data(); }
  static SliceStrides strides_across(const Vec3<int>& size, int axis) {
    return axis == 0 ? row_strides(size, 0) : slice_strides(size, axis);
  }

 private:
  Buffer<Voxel> grid_, turned_;
  std::array<Buffer<Voxel>, 3> slabs_;
};

template <typename Voxel>
class GridOnDevice {
 public:
  // slabs: whether shear-warp will need them. All is made in the stream's order.
  GridOnDevice(const Grid<Voxel>& grid, bool slabs, cudaStream_t stream) : GridOnDevice(Allocate(own_memory)) {
    const Slices<Voxel> host = grid.slices(2);
    const std::size_t count = volume_of(grid.size());
    mu_.grid().upload(host.mu, count, stream);
    if (host.bone) bone_.grid().upload(host.bone, count, stream);
    arrange(grid.frame(), slabs, stream);
  }
  // Of its inner voxels mu (nz, ny, nx), in the memory of the device.
  GridOnDevice(const Voxel* mu, const GridFrame& frame, bool slabs, const Allocate& allocate, cudaStream_t stream)
      : GridOnDevice(allocate) {
    const std::size_t count = volume_of(frame.size);
    launch_each(count, rim_kernel<Voxel>, stream, mu, frame.size, mu_.grid().reserve(count));
    arrange(frame, slabs, stream);
  }

  const DeviceGrid<Voxel>& seen() const { return seen_; }

 private:
  explicit GridOnDevice(const Allocate& allocate)
      : mu_(allocate), bone_(allocate), filled_(allocate), busy_(allocate) {}

  void arrange(const GridFrame& frame, bool slabs, cudaStream_t stream) {
    const Voxel *const mu = mu_.grid().data(), *const bone = bone_.grid().data();
    mu_.arrange(frame, slabs, stream);
    if (bone) bone_.arrange(frame, slabs, stream);
    for (int axis = 0; axis < 3; ++axis) {
      const SlabFrame& of = frame.slabs[axis];
      seen_.across[axis] = {mu_.across(axis), bone_.across(axis), mu_.strides_across(frame.size, axis)};
      if (slabs) seen_.slabs[axis] = {mu_.slabs(axis), bone_.slabs(axis), row_strides(of.size, axis)};
      seen_.thickness[axis] = of.thickness;
    }
    seen_.size = frame.size, seen_.origin = frame.voxel_from_bone.offset.template cast<float>();

    const Vec3<int> bricks = bricks_of(frame.size);
    const std::size_t count = volume_of(bricks), rows = count * kBrick * kBrick;
    std::uint8_t* const filled = filled_.zeros(count, stream);
    launch_each(rows, fill_bricks_kernel<Voxel>, stream, mu, frame.size, filled);
    if (bone) launch_each(rows, fill_bricks_kernel<Voxel>, stream, bone, frame.size, filled);
    seen_.bricks = {busy_.reserve(count), bricks};
    launch_each(count, busy_bricks_kernel, stream, filled, bricks, busy_.data());
  }

  DeviceGrid<Voxel> seen_{};
  OrderedVoxels<Voxel> mu_, bone_;
  Buffer<std::uint8_t> filled_, busy_;
};

}  // namespace fluoropose::cuda
