#include "fluoropose/drr/cuda_renderer.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <type_traits>
#include <vector>

#include "adjoints.cuh"
#include "derivatives.cuh"
#include "device.h"
#include "grid_on_device.h"
#include "images.cuh"
#include "planner.h"

namespace fluoropose {

using cuda::Batch;
using cuda::blocks_for;
using cuda::Buffer;
using cuda::kBlock;
using cuda::launch;

namespace {

constexpr unsigned kMostBlocks = 1024;  // of one image, where each leaves a sum behind

// The device's side of arrays in host memory.
struct Staged {
  Buffer<float> line, bone_line, jacobian, by_pixel, weights, by_voxel;
  Buffer<std::uint8_t> mask;
  Buffer<double> sums;
};

}  // namespace

// Knows the type of the voxels.
class CudaRenderer::State {
 public:
  explicit State(const GridFrame& grid) : frame(grid) {}
  virtual ~State() = default;
  virtual void images(const Placements& at, const DrrImages& out, cudaStream_t to) = 0;
  virtual void jacobian(const Placements& at, float* line, float* jacobian, cudaStream_t to) = 0;
  virtual void jacobian(const PlacementsOnDevice& at, float* line, float* jacobian, cudaStream_t to) = 0;
  virtual void pose_gradients(const Placements& at, const float* by_pixel, double* gradients, cudaStream_t to) = 0;
  virtual void normal_equations(const Placements& at, const float* target, const float* weights,
                                const NormalArrays& out, cudaStream_t to) = 0;
  virtual void volume_gradient(const Placements& at, const float* by_pixel, float* by_voxel, cudaStream_t to) = 0;

  std::size_t inner_voxels() const { return cuda::volume_of(frame.size - Vec3<int>{2, 2, 2}); }

  const GridFrame frame;
  const int device = cuda::current_device();
  std::mutex turn;
  cuda::Stream stream;  // of the calls on host memory
  Staged staged;        // their arrays
};

namespace {

template <typename Voxel>
class StateOf final : public CudaRenderer::State {
 public:
  StateOf(const Grid<Voxel>& grid, Method method)
      : State(grid.frame()),
        method_(method),
        allocate_(cuda::own_memory),
        grid_(grid, method == Method::kShearWarp, stream.get()) {
    stream.wait();
  }
  StateOf(const float* mu, const GridFrame& grid, Method method, const DeviceLoan& loan)
      : State(grid),
        method_(method),
        allocate_(loan.allocate),
        grid_(mu, grid, method == Method::kShearWarp, allocate_, static_cast<cudaStream_t>(loan.stream)) {}

  void images(const Placements& at, const DrrImages& out, cudaStream_t to) override {
    const auto make = [&](auto bone, auto method) {
      constexpr bool kBone = decltype(bone)::value;
      constexpr Method kMethod = decltype(method)::value;
      planner_.in_batches(at, kBone ? 3 : 1, to, [&](const Batch& batch) {
        shear(at, batch, cuda::shear_kernel<kBone, Voxel>, to);
        launch(cuda::image_kernel<kBone, kMethod, Voxel>, {blocks_for(at.size()), 1, batch.count}, block(), to,
               grid_.seen(), batch.space, images_at(out, batch.first * at.size().pixels()));
      });
    };
    with_method([&](auto method) { out.mask ? make(std::true_type{}, method) : make(std::false_type{}, method); });
  }

  void jacobian(const Placements& at, float* line, float* jacobian, cudaStream_t to) override {
    derive(at, line, jacobian, to);
  }
  void jacobian(const PlacementsOnDevice& at, float* line, float* jacobian, cudaStream_t to) override {
    derive(at, line, jacobian, to);
  }

  void pose_gradients(const Placements& at, const float* by_pixel, double* gradients, cudaStream_t to) override {
    const unsigned blocks = std::min(kMostBlocks, blocks_for(at.size()));
    with_method([&](auto method) {
      constexpr Method kMethod = decltype(method)::value;
      planner_.in_batches(at, 2, to, [&](const Batch& batch) {
        double* partial = partial_.reserve(static_cast<std::size_t>(batch.count) * blocks * 6, to);
        shear(at, batch, cuda::shear_lever_kernel<Voxel>, to);
        launch(cuda::gradient_kernel<kMethod, Voxel>, {blocks, 1, batch.count}, block(), to, grid_.seen(), batch.space,
               by_pixel + batch.first * at.size().pixels(), partial);
        launch(cuda::total_gradient_kernel, {batch.count}, {32, cuda::kTotalRows}, to, partial,
               static_cast<int>(blocks), gradients + 6 * batch.first);
      });
    });
  }

  void normal_equations(const Placements& at, const float* target, const float* weights, const NormalArrays& out,
                        cudaStream_t to) override {
    const unsigned blocks = std::min(kMostBlocks, blocks_for(at.size()));
    with_method([&](auto method) {
      constexpr Method kMethod = decltype(method)::value;
      planner_.in_batches(at, 2, to, [&](const Batch& batch) {
        double* partial = partial_.reserve(static_cast<std::size_t>(batch.count) * blocks * kNormalSums, to);
        shear(at, batch, cuda::shear_lever_kernel<Voxel>, to);
        const std::size_t n = batch.first, pixels = n * at.size().pixels();
        launch(cuda::normal_kernel<kMethod, Voxel>, {blocks, 1, batch.count}, block(), to, grid_.seen(), batch.space,
               target + pixels, weights ? weights + pixels : nullptr, partial);
        launch(cuda::total_normal_kernel, {batch.count}, {32, cuda::kTotalRows}, to, partial, static_cast<int>(blocks),
               NormalArrays{out.cost + n, out.jtj + 36 * n, out.jtr + 6 * n});
      });
    });
  }

  void volume_gradient(const Placements& at, const float* by_pixel, float* by_voxel, cudaStream_t to) override {
    const bool sheared = method_ == Method::kShearWarp;
    cuda::VoxelGradients given{given_.zeros(cuda::volume_of(frame.size), to), {}};
    for (int axis = 0; sheared && axis < 3; ++axis)
      given.slabs[axis] = given_slabs_[axis].zeros(cuda::volume_of(frame.slabs[axis].size), to);
    planner_.in_batches(at, 2, to, [&](const Batch& batch) {
      const dim3 everywhere(blocks_for(at.size()), 1, batch.count);
      const float* weights = by_pixel + batch.first * at.size().pixels();
      launch(cuda::cast_adjoint_kernel, everywhere, kBlock, to, grid_.seen().size, batch.space, weights, given);
      if (!sheared) return;
      cuda::clear(batch.space.planes, batch.count * 2 * batch.space.plane_size * sizeof(float), to);
      shear(at, batch, cuda::shear_kernel<false, Voxel>, to);
      launch(cuda::warp_adjoint_kernel, everywhere, kBlock, to, batch.space, weights);
      launch(cuda::shear_adjoint_kernel, {shear_blocks(at.size()), 1, batch.count}, kBlock, to, slab_strides_,
             batch.space, given);
    });
    cuda::launch_each(inner_voxels(), cuda::collect_kernel, to, frame, slab_strides_, given, by_voxel);
  }

 private:
  template <typename Run>
  void with_method(const Run& run) const {
    if (method_ == Method::kRayCast) return run(std::integral_constant<Method, Method::kRayCast>{});
    if (method_ == Method::kShearWarp) return run(std::integral_constant<Method, Method::kShearWarp>{});
    run(std::integral_constant<Method, Method::kTrilinear>{});
  }

  template <typename At>
  void derive(const At& at, float* line, float* jacobian, cudaStream_t to) {
    with_method([&](auto method) {
      constexpr Method kMethod = decltype(method)::value;
      planner_.in_batches(at, 2, to, [&](const Batch& batch) {
        shear(at, batch, cuda::shear_lever_kernel<Voxel>, to);
        const std::size_t first = batch.first * at.size().pixels();
        launch(cuda::jacobian_kernel<kMethod, Voxel>, {blocks_for(at.size()), 1, batch.count}, block(), to,
               grid_.seen(), batch.space, at.size().pixels(), line + first, jacobian + 6 * first);
      });
    });
  }

  // Detector pixels whose rays were summed on the intermediate image need one thread each.
  const dim3& block() const { return method_ == Method::kShearWarp ? kBlock : cuda::kBlockOfParts; }

  // Enough for an intermediate image as fine as the detector; where there is more, blocks go on.
  static unsigned shear_blocks(const ImageSize& size) { return 2 * blocks_for(size); }

  template <typename At, typename Kernel>
  void shear(const At& at, const Batch& batch, Kernel kernel, cudaStream_t to) const {
    if (method_ != Method::kShearWarp) return;
    launch(kernel, {shear_blocks(at.size()), 1, batch.count}, cuda::kBlockOfParts, to, grid_.seen(), batch.space);
  }

  const Method method_;
  const cuda::Allocate allocate_;
  const cuda::GridOnDevice<Voxel> grid_;
  cuda::Planner planner_{frame, method_, allocate_};
  const cuda::SlabStrides slab_strides_{row_strides(frame.slabs[0].size, 0), row_strides(frame.slabs[1].size, 1),
                                        row_strides(frame.slabs[2].size, 2)};
  Buffer<float> given_{allocate_};
  std::array<Buffer<float>, 3> given_slabs_ = cuda::three<float>(allocate_);
  Buffer<double> partial_{allocate_};
};

}  // namespace

bool built_with_cuda() { return true; }

int cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

template <typename Voxel>
CudaRenderer::CudaRenderer(const Grid<Voxel>& grid, Method method) {
  if (cuda_device_count() == 0) throw std::runtime_error("device: no usable CUDA device");
  state_ = std::make_unique<StateOf<Voxel>>(grid, method);
}
template CudaRenderer::CudaRenderer(const Grid<float>&, Method);
template CudaRenderer::CudaRenderer(const Grid<std::int16_t>&, Method);

CudaRenderer::CudaRenderer(const float* mu, const GridFrame& grid, Method method, const DeviceLoan& loan) {
  const cuda::OnDevice on(loan.device);
  state_ = std::make_unique<StateOf<float>>(mu, grid, method, loan);
}

CudaRenderer::~CudaRenderer() = default;

int CudaRenderer::device() const { return state_->device; }
const GridFrame& CudaRenderer::frame() const { return state_->frame; }

void CudaRenderer::images(const Placements& at, const DrrImages& out, void* stream) const {
  const cuda::Turn turn(*state_);
  state_->images(at, out, static_cast<cudaStream_t>(stream));
}

void CudaRenderer::pose_gradients(const Placements& at, const float* by_pixel, double* gradients, void* stream) const {
  const cuda::Turn turn(*state_);
  state_->pose_gradients(at, by_pixel, gradients, static_cast<cudaStream_t>(stream));
}

void CudaRenderer::normal_equations(const Placements& at, const float* target, const float* weights,
                                    const NormalArrays& out, void* stream) const {
  const cuda::Turn turn(*state_);
  state_->normal_equations(at, target, weights, out, static_cast<cudaStream_t>(stream));
}

void CudaRenderer::volume_gradient(const Placements& at, const float* by_pixel, float* by_voxel, void* stream) const {
  const cuda::Turn turn(*state_);
  state_->volume_gradient(at, by_pixel, by_voxel, static_cast<cudaStream_t>(stream));
}

void CudaRenderer::jacobians(const PlacementsOnDevice& at, float* line, float* jacobian, void* stream) const {
  const cuda::Turn turn(*state_);
  state_->jacobian(at, line, jacobian, static_cast<cudaStream_t>(stream));
}

void CudaRenderer::images_to_host(const Placements& at, const DrrImages& out) const {
  State& s = *state_;
  const cuda::Turn turn(s);
  const std::size_t pixels = at.size().pixels() * static_cast<std::size_t>(at.count);
  const bool bone = out.mask != nullptr;
  const DrrImages images{s.staged.line.reserve(pixels), bone ? s.staged.bone_line.reserve(pixels) : nullptr,
                         bone ? s.staged.mask.reserve(pixels) : nullptr};
  s.images(at, images, s.stream.get());
  s.staged.line.download(out.line_integral, pixels, s.stream.get());
  if (bone) {
    s.staged.bone_line.download(out.bone_line_integral, pixels, s.stream.get());
    s.staged.mask.download(out.mask, pixels, s.stream.get());
  }
  s.stream.wait();
}

void CudaRenderer::jacobian_to_host(const Placements& at, float* line, float* jacobian) const {
  State& s = *state_;
  const cuda::Turn turn(s);
  const std::size_t pixels = at.size().pixels();
  s.jacobian(at, s.staged.line.reserve(pixels), s.staged.jacobian.reserve(6 * pixels), s.stream.get());
  s.staged.line.download(line, pixels, s.stream.get());
  s.staged.jacobian.download(jacobian, 6 * pixels, s.stream.get());
  s.stream.wait();
}

void CudaRenderer::pose_gradient_to_host(const Placements& at, const float* by_pixel, double* gradients) const {
  State& s = *state_;
  const cuda::Turn turn(s);
  const std::size_t count = static_cast<std::size_t>(at.count), pixels = at.size().pixels() * count;
  double* out = s.staged.sums.reserve(6 * count);
  s.pose_gradients(at, s.staged.by_pixel.upload(by_pixel, pixels, s.stream.get()), out, s.stream.get());
  s.staged.sums.download(gradients, 6 * count, s.stream.get());
  s.stream.wait();
}

void CudaRenderer::normal_equations_to_host(const Placements& at, const float* target, const float* weights,
                                            const NormalArrays& out) const {
  State& s = *state_;
  const cuda::Turn turn(s);
  const cudaStream_t to = s.stream.get();
  const std::size_t count = static_cast<std::size_t>(at.count), pixels = at.size().pixels() * count;
  constexpr std::size_t kJtj = 36, kJtr = 6;
  double* const sums = s.staged.sums.reserve((1 + kJtj + kJtr) * count);
  const NormalArrays arrays{sums, sums + count, sums + (1 + kJtj) * count};
  s.normal_equations(at, s.staged.by_pixel.upload(target, pixels, to),
                     weights ? s.staged.weights.upload(weights, pixels, to) : nullptr, arrays, to);
  std::vector<double> host((1 + kJtj + kJtr) * count);
  s.staged.sums.download(host.data(), host.size(), to);
  s.stream.wait();
  std::copy_n(host.data(), count, out.cost);
  std::copy_n(host.data() + count, kJtj * count, out.jtj);
  std::copy_n(host.data() + (1 + kJtj) * count, kJtr * count, out.jtr);
}

void CudaRenderer::volume_gradient_to_host(const Placements& at, const float* by_pixel, float* by_voxel) const {
  State& s = *state_;
  const cuda::Turn turn(s);
  const cudaStream_t to = s.stream.get();
  const std::size_t voxels = s.inner_voxels();
  s.volume_gradient(at, s.staged.by_pixel.upload(by_pixel, at.size().pixels() * static_cast<std::size_t>(at.count), to),
                    s.staged.by_voxel.reserve(voxels), to);
  s.staged.by_voxel.download(by_voxel, voxels, to);
  s.stream.wait();
}

}  // namespace fluoropose
