// Owners of CUDA resources that turn errors into exceptions, and the one way kernels are started.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace fluoropose::cuda {

constexpr std::size_t kMostScratch = 512u << 20u;  // bytes of images on the way at one time, unless one needs more
constexpr std::size_t kMostBlocksZ = 65535;        // of a launch

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

// Starts kernel in the order of a stream.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), const dim3& grid, const dim3& block, cudaStream_t stream,
            const Arguments&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = block, config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), "starting a kernel");
}

// Blocks of a kernel that goes on to the next piece of work by itself: one for each piece, or what keeps a device busy.
inline unsigned striding_blocks(std::size_t pieces) {
  return static_cast<unsigned>(std::min<std::size_t>(pieces, 4096));
}

// Starts a kernel for so many elements (see for_each_element()).
template <typename... Parameters, typename... Arguments>
void launch_each(std::size_t count, void (*kernel)(Parameters...), cudaStream_t stream, const Arguments&... arguments) {
  constexpr unsigned kThreads = 128;
  launch(kernel, {striding_blocks((count + kThreads - 1) / kThreads)}, {kThreads}, stream, arguments...);
}

inline void clear(void* memory, std::size_t bytes, cudaStream_t stream) {
  check(cudaMemsetAsync(memory, 0, bytes, stream), "clearing memory");
}

// Whether a CUDA graph is being made of what goes to the stream.
inline bool is_capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status{};
  check(cudaStreamIsCapturing(stream, &status), "asking for a stream's state");
  return status != cudaStreamCaptureStatusNone;
}

inline int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "finding the current device");
  return device;
}

// Makes a device the current one for as long as this lives.
class OnDevice {
 public:
  explicit OnDevice(int device) : before_(current_device()) {
    if (device != before_) check(cudaSetDevice(device), "choosing a device");
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_;
};

// One call at a time, on the device of what State is of.
class Turn {
 public:
  template <typename State>
  explicit Turn(State& state) : lock_(state.turn), on_(state.device) {}

 private:
  std::lock_guard<std::mutex> lock_;
  OnDevice on_;
};

// Made when first asked for, by one thread at a time.
class Stream {
 public:
  Stream() = default;
  ~Stream() {
    if (stream_) cudaStreamDestroy(stream_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const {
    if (!stream_) check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
    return stream_;
  }
  void wait() const { check(cudaStreamSynchronize(get()), "running a kernel"); }

 private:
  mutable cudaStream_t stream_ = nullptr;
};

// Returns memory of the current device, which is free again when the last copy of what is returned goes.
using Allocate = std::function<std::shared_ptr<void>(std::size_t bytes)>;

inline std::shared_ptr<void> own_memory(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "allocating memory");
  return {memory, [](void* unused) { cudaFree(unused); }};
}

// Device memory for count elements; grows, and is kept from call to call.
template <typename T>
class Buffer {
 public:
  explicit Buffer(Allocate allocate = own_memory) : allocate_(std::move(allocate)) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* reserve(std::size_t count) {
    if (count > count_) {
      std::shared_ptr<void> outgrown = std::exchange(memory_, nullptr);
      count_ = 0;
      if (std::exchange(kept_, false)) outgrown_.push_back(std::move(outgrown));
      outgrown.reset();  // before its successor is there
      memory_ = allocate_(count * sizeof(T));
      count_ = count;
    }
    return data();
  }
  // For work in the order of a stream. Where a graph is being captured there, what it uses is kept as long as this
  // lives.
  T* reserve(std::size_t count, cudaStream_t stream) {
    reserve(count);
    kept_ = kept_ || is_capturing(stream);
    return data();
  }
  T* zeros(std::size_t count, cudaStream_t stream) {
    reserve(count, stream);
    clear(data(), count * sizeof(T), stream);
    return data();
  }
  T* upload(const T* from, std::size_t count, cudaStream_t stream) {
    reserve(count);
    check(cudaMemcpyAsync(data(), from, count * sizeof(T), cudaMemcpyHostToDevice, stream), "copying to the device");
    return data();
  }
  void download(T* to, std::size_t count, cudaStream_t stream) const {
    check(cudaMemcpyAsync(to, data(), count * sizeof(T), cudaMemcpyDeviceToHost, stream), "copying from the device");
  }
  T* data() const { return static_cast<T*>(memory_.get()); }

 private:
  Allocate allocate_;
  std::shared_ptr<void> memory_;
  std::size_t count_ = 0;
  bool kept_ = false;
  std::vector<std::shared_ptr<void>> outgrown_;
};

template <typename T>
std::array<Buffer<T>, 3> three(const Allocate& allocate) {
  return {Buffer<T>(allocate), Buffer<T>(allocate), Buffer<T>(allocate)};
}

// Host memory that the device copies from and to by itself; grows, what it held is lost then.
template <typename T>
class Pinned {
 public:
  Pinned() = default;
  ~Pinned() { cudaFreeHost(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  T* reserve(std::size_t count) {
    if (count > count_) {
      check(cudaFreeHost(std::exchange(data_, nullptr)), "freeing host memory");
      count_ = 0;
      check(cudaMallocHost(&data_, count * sizeof(T)), "allocating host memory");
      count_ = count;
    }
    return data_;
  }
  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace fluoropose::cuda
