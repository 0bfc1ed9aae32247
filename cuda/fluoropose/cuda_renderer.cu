#include "fluoropose/drr/cuda_renderer.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "device.h"
#include "kernels.cuh"

namespace fluoropose {

using cuda::Buffer;
using cuda::check;
using cuda::JacobianTarget;
using cuda::Stream;

// Knows the type of the voxels.
class CudaRenderer::State {
 public:
  virtual ~State() = default;
  virtual void images(const RayJob& job, const DrrImages& out, cudaStream_t stream) = 0;
  virtual void jacobian(const RayJob& job, const JacobianTarget& out, cudaStream_t stream) = 0;

  std::mutex turn;
  Stream stream;
  Buffer<float> line, bone_line, pose;
  Buffer<std::uint8_t> mask;
};

namespace {

const dim3 kBlock(cuda::kBlockWidth, cuda::kBlockHeight);

dim3 blocks_for(int width, int height) {
  return {(static_cast<unsigned>(width) + kBlock.x - 1) / kBlock.x,
          (static_cast<unsigned>(height) + kBlock.y - 1) / kBlock.y};
}

template <typename Voxel>
class StateOf final : public CudaRenderer::State {
 public:
  explicit StateOf(const Grid<Voxel>& grid)
      : size_(grid.size()), origin_(grid.voxel_from_bone().offset.template cast<float>()) {
    const std::size_t count = static_cast<std::size_t>(size_.x) * size_.y * size_.z;
    const Slices<Voxel> host = grid.slices(2);
    const Voxel* mu = mu_.upload(host.mu, count, stream);
    const Voxel* bone = host.bone ? bone_.upload(host.bone, count, stream) : nullptr;
    for (int axis = 0; axis < 3; ++axis) {
      slices_.across[axis] = {mu, bone, grid.slices(axis).strides};
      const Slabs<Voxel>& slabs = grid.slabs(axis);
      slabs_[axis] = {slab_mu_[axis].upload(slabs.mu.data(), slabs.mu.size(), stream),
                      host.bone ? slab_bone_[axis].upload(slabs.bone.data(), slabs.bone.size(), stream) : nullptr,
                      slabs.strides};
    }
    bricks_ = grid.bricks();
    const std::size_t count_bricks = static_cast<std::size_t>(bricks_.nx) * bricks_.ny * bricks_.nz;
    bricks_.busy = busy_.upload(bricks_.busy, count_bricks, stream);
    maps_.reserve(static_cast<std::size_t>(std::max({size_.x, size_.y, size_.z})));
    stream.wait();
  }

  void images(const RayJob& job, const DrrImages& out, cudaStream_t to) override {
    const int width = job.view.width, height = job.view.height;
    if (job.trilinear) {
      const auto kernel = out.mask ? cuda::trilinear_kernel<true, Voxel> : cuda::trilinear_kernel<false, Voxel>;
      kernel<<<blocks_for(width, height), kBlock, 0, to>>>(slices_.across[2], size_, job.view, out);
    } else if (!job.plan) {
      const auto kernel = out.mask ? cuda::ray_cast_kernel<true, Voxel> : cuda::ray_cast_kernel<false, Voxel>;
      kernel<<<blocks_for(width, height), kBlock, 0, to>>>(slices_, size_, bricks_, job.view, out);
    } else {
      const ShearSums sums = planes(*job.plan, out.mask ? 3 : 1, out.mask != nullptr);
      const auto kernel = out.mask ? cuda::shear_kernel<true, Voxel> : cuda::shear_kernel<false, Voxel>;
      shear(*job.plan, sums, kernel, to);
      const auto warp = out.mask ? cuda::warp_kernel<true> : cuda::warp_kernel<false>;
      warp<<<blocks_for(width, height), kBlock, 0, to>>>(*job.plan, sums, width, height, out);
    }
    check(cudaGetLastError(), "starting a kernel");
  }

  void jacobian(const RayJob& job, const JacobianTarget& out, cudaStream_t to) override {
    const int width = job.view.width, height = job.view.height;
    if (job.trilinear) {
      cuda::trilinear_jacobian_kernel<<<blocks_for(width, height), kBlock, 0, to>>>(slices_.across[2], size_, job.view,
                                                                                    job.frames[2], origin_, out);
    } else if (!job.plan) {
      const cuda::Frames frames{{job.frames[0], job.frames[1], job.frames[2]}};
      cuda::ray_cast_jacobian_kernel<<<blocks_for(width, height), kBlock, 0, to>>>(slices_, size_, bricks_, job.view,
                                                                                   frames, out);
    } else {
      const ShearSums sums = planes(*job.plan, 2, false);
      shear(*job.plan, sums, cuda::shear_lever_kernel<Voxel>, to);
      cuda::warp_jacobian_kernel<<<blocks_for(width, height), kBlock, 0, to>>>(*job.plan, sums, *job.frames, width,
                                                                               height, out);
    }
    check(cudaGetLastError(), "starting a kernel");
  }

 private:
  ShearSums planes(const ShearPlan& plan, int count, bool bone) {
    const std::size_t size = static_cast<std::size_t>(plan.width) * plan.height;
    float* memory = sums_.reserve(std::max<std::size_t>(1, count * size));
    return {memory, bone ? memory + size : nullptr, bone ? memory + 2 * size : nullptr,
            count == 2 ? memory + size : nullptr, plan.width};
  }

  template <typename Kernel>
  void shear(const ShearPlan& plan, const ShearSums& sums, Kernel kernel, cudaStream_t to) {
    if (plan.width == 0 || plan.height == 0) return;
    const Slices<Voxel>& slices = slabs_[plan.axis];
    const int count = slices.strides.nk;
    cuda::slice_map_kernel<<<(static_cast<unsigned>(count) + 63) / 64, 64, 0, to>>>(plan, count, maps_.data());
    kernel<<<blocks_for(plan.width, plan.height), kBlock, 0, to>>>(slices, maps_.data(), plan.width, plan.height, sums);
  }

  Vec3<int> size_;
  Vec3<float> origin_;  // the bone's, voxels
  cuda::Axes<Voxel> slices_;
  Bricks bricks_;
  Buffer<std::uint8_t> busy_;
  Slices<Voxel> slabs_[3];
  Buffer<Voxel> mu_, bone_, slab_mu_[3], slab_bone_[3];
  Buffer<float> sums_;
  Buffer<SliceMap> maps_;
};

}  // namespace

bool built_with_cuda() { return true; }

int cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

template <typename Voxel>
CudaRenderer::CudaRenderer(const Grid<Voxel>& grid) {
  if (cuda_device_count() == 0) throw std::runtime_error("device: no usable CUDA device");
  state_ = std::make_unique<StateOf<Voxel>>(grid);
}
template CudaRenderer::CudaRenderer(const Grid<float>&);
template CudaRenderer::CudaRenderer(const Grid<std::int16_t>&);

CudaRenderer::~CudaRenderer() = default;

void CudaRenderer::render(const RayJob& job, const DrrImages& out) const {
  State& s = *state_;
  const std::lock_guard lock(s.turn);
  const std::size_t pixels = static_cast<std::size_t>(job.view.width) * job.view.height;
  const bool bone = out.mask != nullptr;
  const DrrImages images{s.line.reserve(pixels), bone ? s.bone_line.reserve(pixels) : nullptr,
                         bone ? s.mask.reserve(pixels) : nullptr};
  s.images(job, images, s.stream.get());
  s.line.download(out.line_integral, pixels, s.stream);
  if (bone) {
    s.bone_line.download(out.bone_line_integral, pixels, s.stream);
    s.mask.download(out.mask, pixels, s.stream);
  }
  s.stream.wait();
}

void CudaRenderer::render_jacobian(const RayJob& job, const JacobianSink& sink) const {
  State& s = *state_;
  const std::lock_guard lock(s.turn);
  const std::size_t width = static_cast<std::size_t>(job.view.width);
  const std::size_t pixels = width * static_cast<std::size_t>(job.view.height);
  std::vector<float> line(pixels), pose(6 * pixels);
  s.jacobian(job, {s.line.reserve(pixels), s.pose.reserve(6 * pixels), nullptr, nullptr}, s.stream.get());
  s.line.download(line.data(), pixels, s.stream);
  s.pose.download(pose.data(), 6 * pixels, s.stream);
  s.stream.wait();
  for (int v = 0; v < job.view.height; ++v) {
    JacobianRow row{v, line.data() + v * width, {}};
    for (int i = 0; i < 6; ++i) row.pose[i] = pose.data() + i * pixels + v * width;
    sink(row);
  }
}

void CudaRenderer::enqueue(const RayJob& job, const DrrImages& out, void* stream) const {
  const std::lock_guard lock(state_->turn);
  state_->images(job, out, static_cast<cudaStream_t>(stream));
}

void CudaRenderer::enqueue_pose_gradient(const RayJob& job, const float* by_pixel, double* gradient,
                                         void* stream) const {
  const std::lock_guard lock(state_->turn);
  const cudaStream_t to = static_cast<cudaStream_t>(stream);
  check(cudaMemsetAsync(gradient, 0, 6 * sizeof(double), to), "clearing memory");
  state_->jacobian(job, {nullptr, nullptr, by_pixel, gradient}, to);
}

}  // namespace fluoropose
