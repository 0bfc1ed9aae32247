// Owners of CUDA resources that turn errors into exceptions.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

namespace fluoropose::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

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
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* reserve(std::size_t count) {
    if (count > count_) {
      check(cudaFree(std::exchange(data_, nullptr)), "freeing memory");
      count_ = 0;
      check(cudaMalloc(&data_, count * sizeof(T)), "allocating memory");
      count_ = count;
    }
    return data_;
  }
  T* upload(const T* from, std::size_t count, const Stream& stream) {
    reserve(count);
    check(cudaMemcpyAsync(data_, from, count * sizeof(T), cudaMemcpyHostToDevice, stream.get()),
          "copying to the device");
    return data_;
  }
  void download(T* to, std::size_t count, const Stream& stream) const {
    check(cudaMemcpyAsync(to, data_, count * sizeof(T), cudaMemcpyDeviceToHost, stream.get()),
          "copying from the device");
  }
  T* data() { return data_; }

 private:
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace fluoropose::cuda
