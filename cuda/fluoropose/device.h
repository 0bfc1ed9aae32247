// Owners of CUDA resources that turn errors into exceptions, and the one way kernels are started.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace fluoropose::cuda {

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

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  void wait() const { check(cudaStreamSynchronize(stream_), "running a kernel"); }

 private:
  cudaStream_t stream_ = nullptr;
};

// Device memory for count elements; grows, and is kept from call to call.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() {
    cudaFree(data_);
    for (T* outgrown : outgrown_) cudaFree(outgrown);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* reserve(std::size_t count) {
    if (count > count_) {
      T* const outgrown = std::exchange(data_, nullptr);
      count_ = 0;
      if (std::exchange(kept_, false)) {
        outgrown_.push_back(outgrown);
      } else {
        check(cudaFree(outgrown), "freeing memory");
      }
      check(cudaMalloc(&data_, count * sizeof(T)), "allocating memory");
      count_ = count;
    }
    return data_;
  }
  T* zeros(std::size_t count, cudaStream_t stream) {
    reserve(count);
    clear(data_, count * sizeof(T), stream);
    return data_;
  }
  T* upload(const T* from, std::size_t count, cudaStream_t stream) {
    reserve(count);
    check(cudaMemcpyAsync(data_, from, count * sizeof(T), cudaMemcpyHostToDevice, stream), "copying to the device");
    return data_;
  }
  void download(T* to, std::size_t count, cudaStream_t stream) const {
    check(cudaMemcpyAsync(to, data_, count * sizeof(T), cudaMemcpyDeviceToHost, stream), "copying from the device");
  }
  T* data() const { return data_; }
  // Where a graph is being captured, keeps the memory as long as this lives: the graph goes on using it.
  void keep_if_captured(cudaStream_t stream) { kept_ = kept_ || is_capturing(stream); }

 private:
  T* data_ = nullptr;
  std::size_t count_ = 0;
  bool kept_ = false;
  std::vector<T*> outgrown_;
};

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
