// Digitally reconstructed radiographs: validates, then hands the work to a method on a device.
#pragma once

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "fluoropose/drr/cuda_renderer.h"
#include "fluoropose/drr/images.h"
#include "fluoropose/geometry/view.h"
#include "fluoropose/volume/grid.h"

namespace fluoropose {

enum class Device { kCpu, kCuda };
enum class Storage { kFloat32, kInt16 };  // of voxels; see Grid

// Throws std::invalid_argument, naming the argument, for a bad view or a pose that is not rigid.
void require_placed(const View& view, const Affine3<double>& world_from_bone);
// The same of many, as far as they are in host memory.
void require_placed(const Placements& at);

class Renderer {
 public:
  // mu, bone, nx, ny, nz, bone_from_voxel, crop: see Grid. Throws std::invalid_argument as Grid does, and
  // std::runtime_error where a CUDA device is asked for and there is none.
  Renderer(const float* mu, const std::uint8_t* bone, int nx, int ny, int nz, const Affine3<double>& bone_from_voxel,
           Method method, Device device, Storage storage = Storage::kFloat32, Crop crop = Crop::kOccupied);
  // Of a whole volume mu (nz, ny, nx), 1/mm, in the memory of a CUDA device; see CudaRenderer. Throws as above.
  Renderer(const float* mu, int nx, int ny, int nz, const Affine3<double>& bone_from_voxel, Method method,
           const DeviceLoan& loan);

  // world_from_bone: rigid. Throws std::invalid_argument, naming the argument, for a bad view or a pose that is not
  // rigid. Shear-warp gives way to ray casting where plan_shear() says that it must.
  void render(const View& view, const Affine3<double>& world_from_bone, const DrrImages& out) const;

  // Line integrals (n, height, width) of n views of one size, each with its pose; on the CPU each on a thread of its
  // own.
  void render_many(const std::vector<View>& views, const std::vector<Affine3<double>>& world_from_bone,
                   float* line_integrals) const;

  // The image and its derivative with respect to the pose, one row at a time (see JacobianRow). Throws as render()
  // does.
  void render_jacobian(const View& view, const Affine3<double>& world_from_bone, const JacobianSink& sink) const;

  // d cost / d pose (6), given by_pixel (height, width), the derivative of a cost with respect to the image.
  void pose_gradient(const View& view, const Affine3<double>& world_from_bone, const float* by_pixel,
                     double* gradient) const;

  // Of one image's residuals, image - target (height, width); weights (height, width) may be null.
  void normal_equations(const View& view, const Affine3<double>& world_from_bone, const float* target,
                        const float* weights, const NormalArrays& out) const;

  // by_voxel (nz, ny, nx): the derivative of a cost with respect to mu, given its derivative by_pixel (n, height,
  // width) with respect to the images of poses in host memory. For a grid of the whole volume, stored as float.
  void volume_gradient(const Placements& at, const float* by_pixel, float* by_voxel) const;

  // Voxels along x, y, z of what volume_gradient() is of; throws std::invalid_argument where it has none.
  Vec3<int> whole_size() const;

  // For work on the memory of the renderer's CUDA device. Throws std::invalid_argument for a renderer on the CPU, and
  // as render() does for views and for poses in host memory.
  const CudaRenderer& on_device(const Placements& at) const;
  // The renderer there; null on the CPU.
  const CudaRenderer* cuda() const { return std::get_if<CudaRenderer>(&voxels_); }
  // -1: none.
  int cuda_device() const { return cuda() ? cuda()->device() : -1; }

 private:
  // On the CPU, or in the memory of a CUDA device.
  using Voxels = std::variant<Grid<float>, Grid<std::int16_t>, CudaRenderer>;

  // Calls run(grid, job) with the rays of a view, on the CPU.
  template <typename Run>
  void with_job(const View& view, const Affine3<double>& world_from_bone, const Run& run) const;

  Voxels voxels_;
  GridFrame frame_;
  Method method_;
  Storage storage_;
  Crop crop_;
  bool has_bone_;
};

}  // namespace fluoropose
