// A grid's voxels in the memory of the device.
#pragma once

#include "device.h"
#include "fluoropose/drr/cuda_renderer.h"
#include "fluoropose/volume/grid.h"
#include "workspace.cuh"

namespace fluoropose::cuda {

inline const dim3 kBlock(kBlockWidth, kBlockHeight), kBlockOfParts(kBlockWidth, kBlockHeight, kParts);

inline unsigned blocks_for(const ImageSize& size) {
  const auto tiles = [](int side, unsigned block) { return (static_cast<unsigned>(side) + block - 1) / block; };
  return tiles(size.width, kBlock.x) * tiles(size.height, kBlock.y);
}

template <typename Voxel>
class GridOnDevice {
 public:
  // slabs: whether shear-warp will need them. The copies are made in the stream's order.
  GridOnDevice(const Grid<Voxel>& grid, bool slabs, cudaStream_t stream) {
    grid_.size = grid.size(), grid_.origin = grid.voxel_from_bone().offset.template cast<float>();
    const std::size_t count = static_cast<std::size_t>(grid_.size.x) * grid_.size.y * grid_.size.z;
    const GridFrame frame = grid.frame();
    for (int axis : {2, 1, 0}) {
      grid_.thickness[axis] = frame.slabs[axis].thickness;
      const Slices<Voxel> host = grid.rows(axis);
      grid_.across[axis] = {grid_.across[2].mu, grid_.across[2].bone, host.strides};
      if (axis != 1) upload(host, count, grid_.across[axis], mu_[axis], bone_[axis], stream);
      if constexpr (!std::is_same_v<Voxel, Label>) {
        if (slabs) {
          const Slices<Voxel> of_axis = grid.slabs(axis).slices();
          upload(of_axis, grid.slabs(axis).mu.size(), grid_.slabs[axis], slab_mu_[axis], slab_bone_[axis], stream);
        }
      }
    }
    grid_.bricks = grid.bricks();
    const std::size_t bricks = static_cast<std::size_t>(grid_.bricks.nx) * grid_.bricks.ny * grid_.bricks.nz;
    grid_.bricks.busy = busy_.upload(grid_.bricks.busy, bricks, stream);
  }

  const DeviceGrid<Voxel>& seen() const { return grid_; }

 private:
  static void upload(const Slices<Voxel>& host, std::size_t count, Slices<Voxel>& on_device, Buffer<Voxel>& mu,
                     Buffer<Voxel>& bone, cudaStream_t stream) {
    on_device = {mu.upload(host.mu, count, stream), host.bone ? bone.upload(host.bone, count, stream) : nullptr,
                 host.strides};
  }

  DeviceGrid<Voxel> grid_{};
  Buffer<Voxel> mu_[3], bone_[3], slab_mu_[3], slab_bone_[3];
  Buffer<std::uint8_t> busy_;
};

}  // namespace fluoropose::cuda
