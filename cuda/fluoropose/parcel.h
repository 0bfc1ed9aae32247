// Small arrays on their way to the device together.
#pragma once

#include <cstring>

#include "device.h"

namespace fluoropose::cuda {

// Between begin() and send() arrays are added, which are in the device's memory once the stream has come there. The
// host's copy may be overwritten from the next begin() on: the stream must be done with it.
class Parcel {
 public:
  // The room that an array takes.
  template <typename T>
  static std::size_t room(std::size_t count) {
    return (count * sizeof(T) + kAligned - 1) / kAligned * kAligned;
  }

  void begin(std::size_t bytes) {
    host_.reserve(bytes), device_.reserve(bytes);
    used_ = 0;
  }
  // Returns where it will be.
  template <typename T>
  const T* add(const T* from, std::size_t count) {
    std::memcpy(host_.data() + used_, from, count * sizeof(T));
    const T* const there = reinterpret_cast<const T*>(device_.data() + used_);
    used_ += room<T>(count);
    return there;
  }
  void send(cudaStream_t stream) { device_.upload(host_.data(), used_, stream); }

 private:
  static constexpr std::size_t kAligned = 16;

  Pinned<char> host_;
  Buffer<char> device_;
  std::size_t used_ = 0;
};

}  // namespace fluoropose::cuda
