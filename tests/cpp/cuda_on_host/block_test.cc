// The stand-in itself: threads of a block that meet, share and are missed.
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "cuda_runtime.h"
#include "device.h"

namespace {

using fluoropose::cuda::launch;

__global__ void reverse(int* values) {
  __shared__ int shared[64];
  shared[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  values[blockIdx.x * blockDim.x + threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

TEST(CudaOnHost, ThreadsOfABlockMeet) {
  std::vector<int> values(128);
  for (int i = 0; i < 128; ++i) values[static_cast<std::size_t>(i)] = i;
  launch(reverse, {2}, {64}, nullptr, values.data());
  for (int i = 0; i < 128; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], i / 64 * 64 + 63 - i % 64);
}

// Only the first warp shuffles; the others must still wait for it where the block meets.
__global__ void sum_first_warp(const int* values, int* sums) {
  __shared__ int total;
  if (threadIdx.x < 32) {
    int sum = values[threadIdx.x];
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (threadIdx.x == 0) total = sum;
  }
  __syncthreads();
  sums[threadIdx.x] = total;
}

TEST(CudaOnHost, AWarpShufflesWhileOthersWait) {
  const std::vector<int> values(32, 3);
  std::vector<int> sums(96);
  launch(sum_first_warp, {1}, {96}, nullptr, values.data(), sums.data());
  EXPECT_EQ(sums, std::vector<int>(96, 96));
}

__global__ void count(int* all) {
  if (threadIdx.x > 5) return;  // those who have returned are not waited for
  __syncthreads();
  atomicAdd(all, 1);
}

TEST(CudaOnHost, CountsEveryThreadOfEveryBlock) {
  int all = 0;
  launch(count, {3, 2, 2}, {40}, nullptr, &all);
  EXPECT_EQ(all, 12 * 6);
}

// Half of a warp shuffles, the other half waits for the block: on a device this never ends.
__global__ void miss_each_other(float* value) {
  if (threadIdx.x % 2 == 0) {
    *value = __shfl_down_sync(0xffffffffu, *value, 1);
  }
  __syncthreads();
}

TEST(CudaOnHost, ThreadsThatMissEachOtherAreFound) {
  float value = 0;
  EXPECT_THROW(launch(miss_each_other, {1}, {32}, nullptr, &value), std::logic_error);
}

}  // namespace
