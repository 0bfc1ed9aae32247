#include "fluoropose/drr/cuda_labels.h"

#include <mutex>

#include "fluoropose/drr/label_paths.h"
#include "grid_on_device.h"
#include "planner.h"

namespace fluoropose {
namespace {

using cuda::Buffer;
using cuda::DeviceGrid;
using cuda::Workspace;

// paths: (n, count, height, width), zero before.
__global__ void label_kernel(const __grid_constant__ DeviceGrid<Label> grid, const __grid_constant__ Workspace space,
                             int count, float* paths) {
  const RayJob& job = space.job();
  const std::size_t plane = static_cast<std::size_t>(job.view.width) * job.view.height;
  float* const first = paths + static_cast<std::size_t>(blockIdx.z) * count * plane;
  cuda::for_each_pixel(job.view.width, job.view.height, [&](int u, int v) {
    JosephRay ray = joseph_ray(grid.size, job.view, u, v);
    trim_ray(grid.bricks, ray);
    float* const pixel = first + static_cast<std::size_t>(v) * job.view.width + u;
    cast_labels(cuda::in_rows(grid.across[ray.axis]), ray,
                [&](Label label, float samples) { pixel[(label - 1) * plane] += samples * ray.step_mm; });
  });
}

}  // namespace

class CudaLabels::State {
 public:
  State(const Grid<Label>& grid, int labels)
      : count(labels), on_device(grid, false, stream.get()), planner(grid.frame(), Method::kRayCast) {
    stream.wait();
  }

  int device = cuda::current_device();
  std::mutex turn;
  cuda::Stream stream;
  int count;
  cuda::GridOnDevice<Label> on_device;
  cuda::Planner planner;
  Buffer<float> paths;
};

CudaLabels::CudaLabels(const Grid<Label>& grid, int count) : state_(std::make_unique<State>(grid, count)) {}

CudaLabels::~CudaLabels() = default;

void CudaLabels::render(const Placements& at, float* paths) const {
  State& s = *state_;
  const std::lock_guard lock(s.turn);
  const cuda::OnDevice on(s.device);
  const cudaStream_t to = s.stream.get();
  const std::size_t planes = static_cast<std::size_t>(at.count) * s.count;
  const std::size_t elements = planes * at.size().pixels();
  float* const out = s.paths.zeros(elements, to);
  s.planner.in_batches(at, 0, to, [&](const cuda::Batch& batch) {
    const std::size_t first = batch.first * s.count * at.size().pixels();
    cuda::launch(label_kernel, {cuda::blocks_for(at.size()), 1, batch.count}, cuda::kBlock, to, s.on_device.seen(),
                 batch.space, s.count, out + first);
  });
  s.paths.download(paths, elements, to);
  s.stream.wait();
}

}  // namespace fluoropose
