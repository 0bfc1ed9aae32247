// The path of each ray through each label of a label map, by Joseph's method.
#pragma once

#include <variant>

#include "fluoropose/drr/cuda_labels.h"
#include "fluoropose/drr/renderer.h"

namespace fluoropose {

class LabelRenderer {
 public:
  // labels: (nz, ny, nx) whole numbers 0 .. count, 0 being nothing; the others: see Grid. Throws as Renderer does.
  LabelRenderer(const float* labels, int count, int nx, int ny, int nz, const Affine3<double>& bone_from_voxel,
                Device device);

  // paths: (count, height, width) mm, of the labels 1 .. count. Throws as Renderer::render() does.
  void render(const View& view, const Affine3<double>& world_from_bone, float* paths) const;

  int count() const { return count_; }
  // As of Renderer.
  const CudaLabels& on_device(const Placements& at) const;
  int cuda_device() const;

 private:
  // On the CPU, or in the memory of a CUDA device.
  using Voxels = std::variant<Grid<Label>, CudaLabels>;

  Voxels voxels_;
  int count_;
};

}  // namespace fluoropose
