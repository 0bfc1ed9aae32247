#include "fluoropose/drr/renderer.h"

#include <omp.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "fluoropose/drr/adjoint_cpu.h"
#include "fluoropose/drr/jacobian_sinks.h"
#include "fluoropose/drr/ray_cast_cpu.h"
#include "fluoropose/drr/shear_warp_cpu.h"
#include "fluoropose/drr/trilinear_cpu.h"

namespace fluoropose {
namespace {

void check(const View& view) {
  validate(view);
  if (static_cast<std::int64_t>(view.width) * view.height > std::numeric_limits<std::int32_t>::max()) {
    throw std::invalid_argument("view: more than 2^31 pixels");
  }
}

Placements one(const View& view, const Affine3<double>& world_from_bone) {
  return {1, &view, &world_from_bone, nullptr};
}

template <typename Voxels, typename Voxel, typename... Arguments>
Voxels voxels_on(Device device, Method method, const Arguments&... arguments) {
  if (device == Device::kCpu) return Voxels(std::in_place_type<Grid<Voxel>>, arguments...);
  return Voxels(std::in_place_type<CudaRenderer>, Grid<Voxel>(arguments...), method);
}

template <typename Voxels>
GridFrame frame_of(const Voxels& voxels) {
  return std::visit([](const auto& some) { return some.frame(); }, voxels);
}

// Adds to by_voxel, rim included.
void shear_warp_gradient(const Grid<float>& grid, const RayJob& job, const float* by_pixel, float* by_voxel) {
  const Slabs<float>& slabs = grid.slabs(job.plan.axis);
  std::vector<float> by_slab(slabs.mu.size());
  shear_warp_adjoint_cpu(slabs, job.plan, job.view.width, job.view.height, by_pixel, by_slab.data());
  spread(slabs, by_slab.data(), grid.slices(job.plan.axis).strides, by_voxel);
}

}  // namespace

void require_placed(const Placements& at) {
  for (int i = 0; i < at.count; ++i) {
    at.world_from_bone ? require_placed(at.views[i], at.world_from_bone[i]) : check(at.views[i]);
  }
}

void require_placed(const View& view, const Affine3<double>& world_from_bone) {
  check(view);
  if (!is_rigid(world_from_bone)) throw std::invalid_argument("world_from_bone: expected a rigid transform");
}

Renderer::Renderer(const float* mu, const std::uint8_t* bone, int nx, int ny, int nz,
                   const Affine3<double>& bone_from_voxel, Method method, Device device, Storage storage, Crop crop)
    : voxels_(storage == Storage::kInt16
                  ? voxels_on<Voxels, std::int16_t>(device, method, mu, bone, nx, ny, nz, bone_from_voxel, crop)
                  : voxels_on<Voxels, float>(device, method, mu, bone, nx, ny, nz, bone_from_voxel, crop)),
      frame_(frame_of(voxels_)),
      method_(method),
      storage_(storage),
      crop_(crop),
      has_bone_(bone != nullptr) {}

Renderer::Renderer(const float* mu, int nx, int ny, int nz, const Affine3<double>& bone_from_voxel, Method method,
                   const DeviceLoan& loan)
    : voxels_(std::in_place_type<CudaRenderer>, mu, grid_frame({0, 0, 0}, {nx, ny, nz}, bone_from_voxel), method, loan),
      frame_(frame_of(voxels_)),
      method_(method),
      storage_(Storage::kFloat32),
      crop_(Crop::kWhole),
      has_bone_(false) {}

template <typename Run>
void Renderer::with_job(const View& view, const Affine3<double>& world_from_bone, const Run& run) const {
  const RayJob job = ray_job(view, world_from_bone, frame_, method_);
  if (const auto* grid = std::get_if<Grid<float>>(&voxels_)) return run(*grid, job);
  run(std::get<Grid<std::int16_t>>(voxels_), job);
}

void Renderer::render(const View& view, const Affine3<double>& world_from_bone, const DrrImages& out) const {
  require_placed(view, world_from_bone);
  if (out.mask && !has_bone_) throw std::invalid_argument("bone: the renderer was built without a bone");
  if (cuda()) return cuda()->images_to_host(one(view, world_from_bone), out);
  with_job(view, world_from_bone, [&](const auto& grid, const RayJob& job) {
    if (job.way == Way::kSample) return trilinear_cpu(grid, job.view, out);
    if (job.way == Way::kCast) return ray_cast_cpu(grid, job.view, out);
    shear_warp_cpu(grid.slabs(job.plan.axis), job.plan, view.width, view.height, out);
  });
}

void Renderer::render_many(const std::vector<View>& views, const std::vector<Affine3<double>>& world_from_bone,
                           float* line_integrals) const {
  // Exceptions must not leave a parallel region: bad arguments are found before it.
  for (std::size_t i = 0; i < views.size(); ++i) require_placed(views[i], world_from_bone[i]);
  const int count = static_cast<int>(views.size()), threads = std::min(count, omp_get_max_threads());
  if (count == 0) return;
  if (cuda()) {
    return cuda()->images_to_host({count, views.data(), world_from_bone.data(), nullptr},
                                  {line_integrals, nullptr, nullptr});
  }
  // One image has all threads to itself. A parallel region of one thread would not do: GCC's library starts new threads
  // for every region within another.
  if (count == 1) return render(views[0], world_from_bone[0], {line_integrals, nullptr, nullptr});
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int i = 0; i < count; ++i) {
    const std::size_t n = static_cast<std::size_t>(i);
    const std::size_t pixels = static_cast<std::size_t>(views[n].width) * views[n].height;
    render(views[n], world_from_bone[n], {line_integrals + n * pixels, nullptr, nullptr});
  }
}

void Renderer::render_jacobian(const View& view, const Affine3<double>& world_from_bone,
                               const JacobianSink& sink) const {
  require_placed(view, world_from_bone);
  if (cuda()) {
    const std::size_t pixels = static_cast<std::size_t>(view.width) * view.height;
    std::vector<float> images(7 * pixels);
    cuda()->jacobian_to_host(one(view, world_from_bone), images.data(), images.data() + pixels);
    return hand_rows(view.width, view.height, images.data(), images.data() + pixels, sink);
  }
  with_job(view, world_from_bone, [&](const auto& grid, const RayJob& job) {
    if (job.way == Way::kSample) return trilinear_jacobian_cpu(grid, job.view, job.frames[2], sink);
    if (job.way == Way::kCast) return ray_cast_jacobian_cpu(grid, job.view, job.frames, sink);
    const int axis = job.plan.axis;
    shear_warp_jacobian_cpu(grid.slabs(axis), job.plan, job.frames[axis], view.width, view.height, sink);
  });
}

void Renderer::pose_gradient(const View& view, const Affine3<double>& world_from_bone, const float* by_pixel,
                             double* gradient) const {
  require_placed(view, world_from_bone);
  if (cuda()) return cuda()->pose_gradient_to_host(one(view, world_from_bone), by_pixel, gradient);
  PoseGradient sums(view.width, view.height, by_pixel);
  render_jacobian(view, world_from_bone, sums.sink());
  sums.result(gradient);
}

void Renderer::normal_equations(const View& view, const Affine3<double>& world_from_bone, const float* target,
                                const float* weights, const NormalArrays& out) const {
  require_placed(view, world_from_bone);
  if (cuda()) return cuda()->normal_equations_to_host(one(view, world_from_bone), target, weights, out);
  NormalEquations sums(view.width, view.height, target, weights);
  render_jacobian(view, world_from_bone, sums.sink());
  *out.cost = sums.result(out.jtj, out.jtr);
}

Vec3<int> Renderer::whole_size() const {
  if (method_ == Method::kTrilinear) throw std::invalid_argument("method: trilinear sums have no transpose here");
  if (crop_ != Crop::kWhole || storage_ != Storage::kFloat32) {
    throw std::invalid_argument("whole: expected a renderer of the whole volume, stored as float32");
  }
  return {frame_.size.x - 2, frame_.size.y - 2, frame_.size.z - 2};
}

void Renderer::volume_gradient(const Placements& at, const float* by_pixel, float* by_voxel) const {
  whole_size();
  require_placed(at);
  if (cuda()) return cuda()->volume_gradient_to_host(at, by_pixel, by_voxel);
  const Grid<float>& grid = std::get<Grid<float>>(voxels_);
  const Vec3<int> size = grid.size();
  std::vector<float> rimmed(static_cast<std::size_t>(size.x) * size.y * size.z);
  const SliceStrides strides[3] = {grid.slices(0).strides, grid.slices(1).strides, grid.slices(2).strides};
  for (int i = 0; i < at.count; ++i, by_pixel += at.size().pixels()) {
    with_job(at.views[i], at.world_from_bone[i], [&](const auto&, const RayJob& job) {
      if (job.way == Way::kShear) return shear_warp_gradient(grid, job, by_pixel, rimmed.data());
      ray_cast_adjoint_cpu(size, strides, job.view, by_pixel, rimmed.data());
    });
  }
  for (int z = 0; z < size.z - 2; ++z) {
    for (int y = 0; y < size.y - 2; ++y) {
      const float* row = rimmed.data() + (static_cast<std::size_t>(z + 1) * size.y + (y + 1)) * size.x + 1;
      by_voxel = std::copy_n(row, size.x - 2, by_voxel);
    }
  }
}

const CudaRenderer& Renderer::on_device(const Placements& at) const {
  if (!cuda()) throw std::invalid_argument("device: expected a renderer on a CUDA device");
  require_placed(at);
  return *cuda();
}

}  // namespace fluoropose
