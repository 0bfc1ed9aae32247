// The path of each ray through each label of a label map, by Joseph's method.
#pragma once

#include <memory>

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

 private:
  Grid<Label> grid_;
  GridFrame frame_;
  int count_;
  std::unique_ptr<CudaLabels> cuda_;  // null on the CPU
};

}  // namespace fluoropose
