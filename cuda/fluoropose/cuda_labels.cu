#include "fluoropose/drr/cuda_labels.h"

#include <cmath>
#include <mutex>

#include "fluoropose/drr/label_paths.h"
#include "grid_on_device.h"
#include "planner.h"

namespace fluoropose {
namespace {

using cuda::DeviceGrid;
using cuda::Workspace;

// paths: (n, count, height, width), zero before.
__global__ void label_kernel(const __grid_constant__ DeviceGrid<Label> grid, const __grid_constant__ Workspace space,
                             int count, float* paths) {
  const RayJob& job = space.job();
  const std::size_t plane = static_cast<std::size_t>(job.view.width) * job.view.height;
  float* const first = paths + static_cast<std::size_t>(blockIdx.z) * count * plane;
  cuda::for_each_pixel(job.view.width, job.view.height, [&](int u, int v) {
    float* const pixel = first + static_cast<std::size_t>(v) * job.view.width + u;
    if (job.way == Way::kNowhere) {
      for (int label = 0; label < count; ++label) pixel[label * plane] = NAN;
      return;
    }
    JosephRay ray = joseph_ray(grid.size, job.view, u, v);
    trim_ray(grid.bricks, ray);
    cast_labels(cuda::in_rows(grid.across[ray.axis]), ray,
                [&](Label label, float samples) { pixel[(label - 1) * plane] += samples * ray.step_mm; });
  });
}

}  // namespace

class CudaLabels::State {
 public:
  State(const Grid<Label>& grid, int labels)
      : count(labels), on_device(grid, false, stream.get()), planner(grid.frame(), Method::kRayCast, cuda::own_memory) {
    stream.wait();
  }

  std::size_t elements(const Placements& at) const {
    return static_cast<std::size_t>(at.count) * count * at.size().pixels();
  }

  void render(const Placements& at, float* paths, cudaStream_t to) {
    cuda::clear(paths, elements(at) * sizeof(float), to);
    planner.in_batches(at, 0, to, [&](const cuda::Batch& batch) {
      const std::size_t first = batch.first * count * at.size().pixels();
      cuda::launch(label_kernel, {cuda::blocks_for(at.size()), 1, batch.count}, cuda::kBlock, to, on_device.seen(),
                   batch.space, count, paths + first);
    });
  }

  const int device = cuda::current_device(), count;
  std::mutex turn;
  cuda::Stream stream;  // of the calls on host memory
  cuda::Buffer<float> staged;
  const cuda::GridOnDevice<Label> on_device;
  cuda::Planner planner;
};

CudaLabels::CudaLabels(const Grid<Label>& grid, int count) : state_(std::make_unique<State>(grid, count)) {}

CudaLabels::~CudaLabels() = default;

int CudaLabels::device() const { return state_->device; }

void CudaLabels::render(const Placements& at, float* paths, void* stream) const {
  const cuda::Turn turn(*state_);
  state_->render(at, paths, static_cast<cudaStream_t>(stream));
}

void CudaLabels::render_to_host(const Placements& at, float* paths) const {
  State& s = *state_;
  const cuda::Turn turn(s);
  const std::size_t elements = s.elements(at);
  s.render(at, s.staged.reserve(elements), s.stream.get());
  s.staged.download(paths, elements, s.stream.get());
  s.stream.wait();
}

}  // namespace fluoropose
