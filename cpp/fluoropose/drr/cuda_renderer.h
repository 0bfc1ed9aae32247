// The renderers on a CUDA device. This header needs no CUDA; without a build for it, no device is ever found.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "fluoropose/drr/images.h"
#include "fluoropose/drr/normal_terms.h"
#include "fluoropose/drr/ray_job.h"
#include "fluoropose/volume/grid.h"

namespace fluoropose {

bool built_with_cuda();

// Devices that can be used: 0 without one, without a driver or without a build for CUDA.
int cuda_device_count();

// What a caller lends of a CUDA device.
struct DeviceLoan {
  int device;
  // Returns memory that is lent as long as what is returned lives.
  std::function<std::shared_ptr<void>(std::size_t bytes)> allocate;
  void* stream;  // a cudaStream_t
};

struct ImageSize {
  int width, height;  // px
  std::size_t pixels() const { return static_cast<std::size_t>(width) * height; }
};

// Where n images are taken: views of one size, each with a pose of the bone.
struct Placements {
  int count;
  const View* views;                       // (n), host memory
  const Affine3<double>* world_from_bone;  // (n), host memory; null where the poses are
  const double* matrices;                  // (n, 4, 4) in the memory of the device

  ImageSize size() const { return {views->width, views->height}; }
};

// The same in the memory of the device: of every pose one image per view.
struct PlacementsOnDevice {
  int count;  // of images: poses times views
  int view_count;
  ImageSize largest;                       // so wide and so high are the views at most
  const View* views;                       // (view_count)
  const Affine3<double>* world_from_bone;  // (count / view_count)

  ImageSize size() const { return largest; }
};

// A grid in the memory of a CUDA device. Calls from several threads take turns.
//
// What works on device memory does so in the order of the caller's stream (a cudaStream_t), one stream at a time. It
// does not wait and, after a first call of the same size and number, allocates nothing, so that a CUDA graph can hold
// it: poses in host memory stay what they were, those in device memory are read anew. Images of poses that are not
// rigid are NaN.
class CudaRenderer {
 public:
  // On the current device. Throws std::runtime_error where there is no device or CUDA reports an error; so do the
  // others.
  template <typename Voxel>
  CudaRenderer(const Grid<Voxel>& grid, Method method);
  // Of the inner voxels mu (nz, ny, nx) of a grid, 1/mm, in the memory of the device. Copies them in the order of the
  // loan's stream, and keeps nothing in other memory.
  CudaRenderer(const float* mu, const GridFrame& grid, Method method, const DeviceLoan& loan);
  ~CudaRenderer();

  int device() const;
  const GridFrame& frame() const;

  // Fill the images of out (n, height, width) that are not null.
  void images(const Placements& at, const DrrImages& out, void* stream) const;
  // gradients: (n, 6), given by_pixel (n, height, width), the derivative of a cost with respect to the images.
  void pose_gradients(const Placements& at, const float* by_pixel, double* gradients, void* stream) const;
  // Of the residuals images - target (n, height, width), with weights (n, height, width) or, where null, ones.
  void normal_equations(const Placements& at, const float* target, const float* weights, const NormalArrays& out,
                        void* stream) const;
  // by_voxel: (nz, ny, nx) of the grid without its rim: the exact transpose of images(), summed over them.
  void volume_gradient(const Placements& at, const float* by_pixel, float* by_voxel, void* stream) const;
  // line: (n, pixels), jacobian: (n, 6, pixels), see JacobianRow; pixels of the largest view, of which those of a
  // smaller one are the first.
  void jacobians(const PlacementsOnDevice& at, float* line, float* jacobian, void* stream) const;

  // The same in host memory, of poses in host memory; they wait.
  void images_to_host(const Placements& at, const DrrImages& out) const;
  void jacobian_to_host(const Placements& at, float* line, float* jacobian) const;  // (height, width), (6, ...); n = 1
  void pose_gradient_to_host(const Placements& at, const float* by_pixel, double* gradients) const;
  void normal_equations_to_host(const Placements& at, const float* target, const float* weights,
                                const NormalArrays& out) const;
  void volume_gradient_to_host(const Placements& at, const float* by_pixel, float* by_voxel) const;

  class State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace fluoropose
