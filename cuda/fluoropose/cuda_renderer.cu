// Launches the bodies of cpp/fluoropose/drr/*.h, one thread per pixel.
#include "fluoropose/drr/cuda_renderer.h"

#include <mutex>
#include <vector>

#include "device.h"
#include "fluoropose/drr/ray_cast.h"

namespace fluoropose {
namespace {

using cuda::Buffer;
using cuda::check;
using cuda::Stream;

const dim3 kBlock(16, 8);

dim3 blocks_for(int width, int height) {
  return {(static_cast<unsigned>(width) + kBlock.x - 1) / kBlock.x,
          (static_cast<unsigned>(height) + kBlock.y - 1) / kBlock.y};
}

struct Axes {
  Slices across[3];
};

template <bool kBone>
__global__ void ray_cast_kernel(Axes slices, Vec3<int> size, VoxelView view, DrrImages out) {
  const int u = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int v = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (u >= view.width || v >= view.height) return;
  const JosephRay ray = joseph_ray(size, view, u, v);
  store_pixel<kBone>(cast_ray<kBone>(slices.across[ray.axis], ray), ray.step_mm, v * view.width + u, out);
}

template <bool kBone>
__global__ void shear_kernel(Slices slices, const SliceMap* maps, int width, int height, ShearSums sums) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int j = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (i >= width || j >= height) return;
  const RaySums pixel = shear_pixel<kBone>(slices, maps, i, j);
  const int at = j * sums.stride + i;
  sums.line[at] = pixel.line;
  if constexpr (kBone) {
    sums.bone[at] = pixel.bone;
    sums.nearest_bone[at] = pixel.nearest_bone;
  }
}

template <bool kBone>
__global__ void warp_kernel(ShearPlan plan, ShearSums sums, int width, int height, DrrImages out) {
  const int u = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int v = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (u < width && v < height) warp_pixel<kBone>(sums, warp_tap(plan, sums.stride, u, v), v * width + u, out);
}

}  // namespace

struct CudaRenderer::State {
  std::mutex turn;
  Stream stream;
  Buffer<float> mu, bone, sums, line, bone_line;
  Buffer<std::uint8_t> mask;
  Buffer<SliceMap> maps;
  Vec3<int> size;
  Axes slices;

  DrrImages images(std::size_t pixels, bool with_bone) {
    return {line.reserve(pixels), with_bone ? bone_line.reserve(pixels) : nullptr,
            with_bone ? mask.reserve(pixels) : nullptr};
  }

  void fetch(std::size_t pixels, const DrrImages& out) {
    check(cudaGetLastError(), "starting a kernel");
    line.download(out.line_integral, pixels, stream);
    if (out.mask) {
      bone_line.download(out.bone_line_integral, pixels, stream);
      mask.download(out.mask, pixels, stream);
    }
    stream.wait();
  }
};

bool built_with_cuda() { return true; }

int cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

CudaRenderer::CudaRenderer(const Grid& grid) {
  if (cuda_device_count() == 0) throw std::runtime_error("device: no usable CUDA device");
  state_ = std::make_unique<State>();
  State& s = *state_;
  s.size = grid.size();
  const std::size_t count = static_cast<std::size_t>(s.size.x) * s.size.y * s.size.z;
  const Slices host = grid.slices(2);
  const float* mu = s.mu.upload(host.mu, count, s.stream);
  const float* bone = host.bone ? s.bone.upload(host.bone, count, s.stream) : nullptr;
  for (int axis = 0; axis < 3; ++axis) s.slices.across[axis] = {mu, bone, grid.slices(axis).strides};
  s.stream.wait();
}

CudaRenderer::~CudaRenderer() = default;

void CudaRenderer::ray_cast(const VoxelView& view, const DrrImages& out) const {
  State& s = *state_;
  const std::lock_guard lock(s.turn);
  const std::size_t pixels = static_cast<std::size_t>(view.width) * view.height;
  const DrrImages images = s.images(pixels, out.mask != nullptr);
  const auto kernel = out.mask ? ray_cast_kernel<true> : ray_cast_kernel<false>;
  kernel<<<blocks_for(view.width, view.height), kBlock, 0, s.stream.get()>>>(s.slices, s.size, view, images);
  s.fetch(pixels, out);
}

void CudaRenderer::shear_warp(const ShearPlan& plan, int width, int height, const DrrImages& out) const {
  State& s = *state_;
  const std::lock_guard lock(s.turn);
  const std::size_t pixels = static_cast<std::size_t>(width) * height;
  const std::size_t sheared = static_cast<std::size_t>(plan.width) * plan.height;
  const DrrImages images = s.images(pixels, out.mask != nullptr);
  float* memory = s.sums.reserve((out.mask ? 3 : 1) * sheared);
  const ShearSums sums{memory, out.mask ? memory + sheared : nullptr, out.mask ? memory + 2 * sheared : nullptr,
                       nullptr, plan.width};
  const Slices& slices = s.slices.across[plan.axis];
  const std::vector<SliceMap> host_maps = slice_maps(plan, slices.strides.nk);
  const SliceMap* maps = s.maps.upload(host_maps.data(), host_maps.size(), s.stream);
  if (sheared > 0) {
    const auto shear = out.mask ? shear_kernel<true> : shear_kernel<false>;
    shear<<<blocks_for(plan.width, plan.height), kBlock, 0, s.stream.get()>>>(slices, maps, plan.width, plan.height,
                                                                              sums);
  }
  const auto warp = out.mask ? warp_kernel<true> : warp_kernel<false>;
  warp<<<blocks_for(width, height), kBlock, 0, s.stream.get()>>>(plan, sums, width, height, images);
  s.fetch(pixels, out);
}

}  // namespace fluoropose
