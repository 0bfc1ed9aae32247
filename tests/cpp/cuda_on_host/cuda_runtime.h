// Stands in for CUDA's own header, so that a C++ compiler can build the CUDA sources as they are and tests can run them
// without a GPU: what of the runtime and of the language in kernels they use. A stream is done with each piece of work
// before the call that brings it returns. Memory of the device is memory of the host, so that the address sanitizer
// sees what kernels touch. What a test may want to know is counted.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>

#include "block.h"

#define __host__
#define __device__
#define __global__
#define __grid_constant__
#define __shared__ static thread_local  // the threads of a block, and the blocks, share one thread of the host

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

// Where a thread stands; set before it goes on.
inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
using cudaStream_t = struct CudaOnHostStream*;
constexpr unsigned cudaStreamNonBlocking = 1;

namespace cuda_on_host {

struct Counts {
  int launches, allocations, frees, waits;
};
inline Counts counts{};
inline bool capturing = false;  // what a test says of every stream

inline void enter(const dim3& block, int thread) {
  const unsigned t = static_cast<unsigned>(thread);
  threadIdx = {t % block.x, t / block.x % block.y, t / block.x / block.y};
}

}  // namespace cuda_on_host

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
};

// Arguments become the kernel's parameters once, as on a device: no thread sees what another does to them.
template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<Parameters...> parameters(std::forward<Arguments>(arguments)...);
  const dim3 grid = config->gridDim, block = config->blockDim;
  ++cuda_on_host::counts.launches;
  blockDim = block, gridDim = grid;
  const auto enter = [&](int thread) { cuda_on_host::enter(block, thread); };
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        cuda_on_host::run_block(static_cast<int>(block.x * block.y * block.z), enter,
                                [&] { std::apply(kernel, parameters); });
      }
    }
  }
  return cudaSuccess;
}

inline void __syncthreads() { cuda_on_host::wait_for_block(); }

template <typename T>
T __shfl_down_sync(unsigned, T value, int offset) {
  // Two sets in turn: nobody can write the next but one before all have read this one.
  static thread_local T lanes[2][cuda_on_host::kMostThreads];
  T* const own = lanes[cuda_on_host::warp_meetings() % 2];
  const int thread = cuda_on_host::current_thread(), other = thread + offset;
  own[thread] = value;
  cuda_on_host::wait_for_warp();
  return other / cuda_on_host::kWarp == thread / cuda_on_host::kWarp ? own[other] : value;
}

template <typename T>
T atomicAdd(T* place, T value) {
  return std::exchange(*place, *place + value);
}

inline const char* cudaGetErrorString(cudaError_t error) { return error == cudaSuccess ? "none" : "out of memory"; }

inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }

// Not zero, as on a device.
template <typename T>
cudaError_t cudaMalloc(T** memory, std::size_t bytes) {
  void* const allocated = std::malloc(bytes);
  if (!allocated && bytes) return cudaErrorMemoryAllocation;
  ++cuda_on_host::counts.allocations;
  std::memset(allocated, 0xff, bytes);
  *memory = static_cast<T*>(allocated);
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) {
  cuda_on_host::counts.frees += memory != nullptr;
  std::free(memory);
  return cudaSuccess;
}
template <typename T>
cudaError_t cudaMallocHost(T** memory, std::size_t bytes) {
  return cudaMalloc(memory, bytes);
}
inline cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
  if (bytes) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
  if (bytes) std::memset(memory, value, bytes);
  return cudaSuccess;
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = nullptr;
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
inline cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cuda_on_host::capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  ++cuda_on_host::counts.waits;
  return cudaSuccess;
}
