// The kernel that compares moving images with fixed ones: gradients, and sums of their products patch by patch.
#pragma once

#include "comparison.cuh"
#include "fluoropose/refinement/damped_climb.h"
#include "fluoropose/refinement/tone.h"

namespace fluoropose::cuda {

constexpr int kPlanes = 7;  // the moving image and its derivative
constexpr int kSums = Moments<kPlanes>::kCount;
constexpr int kMomentRows = 8, kMomentThreads = kPatchWidth * kMomentRows;  // of a block
constexpr int kRowsEach = kPatchHeight / kMomentRows;                       // pixels of a thread
constexpr int kGroups = kMomentThreads / kSums;                             // threads that share a sum

// Shared memory of a block, first for the filters, then for the products.
union PatchMemory {
  struct {
    float raw[kPatchHeight + CudaClimber::kMostTaps - 1][kPatchWidth + CudaClimber::kMostTaps - 1];
    float smoothed[kPatchHeight + CudaClimber::kMostTaps - 1][kPatchWidth];  // along u
    float sloped[kPatchHeight + CudaClimber::kMostTaps - 1][kPatchWidth];
  } filters;
  struct {
    // The planes, A^ and 1, times the roots of the weights. Rows of a length that lets all begin in banks of their own.
    float planes[kPlanes + 2][kPatchWidth * kPatchHeight + 1];
    float sums[kGroups][kSums];
  } products;
};

// Reads a plane of the moving image, or of its derivative, with its neighbourhood, zeros beyond the image.
__device__ inline void read_patch(const FixedImage& image, const Patch& patch, int reach, const float* line,
                                  const float* plane, PatchMemory& memory) {
  for (int y = static_cast<int>(threadIdx.y); y < kPatchHeight + 2 * reach; y += kMomentRows) {
    for (int x = static_cast<int>(threadIdx.x); x < kPatchWidth + 2 * reach; x += kPatchWidth) {
      const int u = patch.left + x - reach, v = patch.top + y - reach;
      float value = 0.0f;
      if (u >= 0 && v >= 0 && u < image.width && v < image.height) {
        const int index = v * image.width + u;
        value = plane[index];
        if (image.veil > 0.0f) {
          value = plane == line ? shown(value, image.veil) : value * shown_slope(line[index], image.veil);
        }
      }
      memory.filters.raw[y][x] = value;
    }
  }
}

__device__ inline void filter_rows(const Kernels& kernels, PatchMemory& memory) {
  const int x = static_cast<int>(threadIdx.x);
  for (int y = static_cast<int>(threadIdx.y); y < kPatchHeight + kernels.taps - 1; y += kMomentRows) {
    float smoothed = 0.0f, sloped = 0.0f;
    for (int k = 0; k < kernels.taps; ++k) {
      const float value = memory.filters.raw[y][x + k];
      smoothed += kernels.smooth[k] * value, sloped += kernels.slope[k] * value;
    }
    memory.filters.smoothed[y][x] = smoothed, memory.filters.sloped[y][x] = sloped;
  }
}

// features: the derivatives along u and v of the thread's pixels.
__device__ inline void filter_columns(const Kernels& kernels, const PatchMemory& memory,
                                      float (&features)[kRowsEach][kFeatures]) {
  const int x = static_cast<int>(threadIdx.x);
  for (int row = 0; row < kRowsEach; ++row) {
    const int y = static_cast<int>(threadIdx.y) + row * kMomentRows;
    float along_u = 0.0f, along_v = 0.0f;
    for (int k = 0; k < kernels.taps; ++k) {
      along_u += kernels.smooth[k] * memory.filters.sloped[y + k][x];
      along_v += kernels.slope[k] * memory.filters.smoothed[y + k][x];
    }
    features[row][0] = along_u, features[row][1] = along_v;
  }
}

// The two planes whose products sum k of Moments<kPlanes> is of.
__device__ inline void factors(int k, int& i, int& j) {
  constexpr int kProducts = Moments<kPlanes>::kProducts;
  if (k >= kProducts) {
    i = (k - kProducts) % kPlanes, j = k < kProducts + kPlanes ? kPlanes + 1 : kPlanes;
    return;
  }
  for (i = 0; Moments<kPlanes>::product(i + 1, 0) <= k;) ++i;
  j = k - Moments<kPlanes>::product(i, 0);
}

// Sums the products of the planes over a patch; every sum is of kGroups threads, always in the same order. out:
// (kSums).
__device__ inline void sum_products(int pixels, PatchMemory& memory, double* out) {
  const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x), k = thread % kSums;
  if (thread < kGroups * kSums) {
    int i, j;
    factors(k, i, j);
    const float *a = memory.products.planes[i], *b = memory.products.planes[j];
    float sum = 0.0f;
    for (int p = thread / kSums; p < pixels; p += kGroups) sum += a[p] * b[p];
    memory.products.sums[thread / kSums][k] = sum;
  }
  __syncthreads();
  if (thread >= kSums) return;
  double sum = 0.0;
  for (int group = 0; group < kGroups; ++group) sum += static_cast<double>(memory.products.sums[group][thread]);
  out[thread] = sum;
}

// Block (patch, 0, climb). line: (climbs, views, plane); jacobian: (climbs, views, 6, plane); moments: (climbs,
// patches, kFeatures, kSums). Finished climbs are left out.
static __global__ void moments_kernel(const __grid_constant__ Comparison comparison, const DampedClimb* climbs,
                                      const float* line, const float* jacobian, double* moments) {
  if (climbs[blockIdx.z].finished) return;
  __shared__ PatchMemory memory;
  const Patch patch = comparison.patches[blockIdx.x];
  const FixedImage& image = comparison.images[patch.view];
  const std::size_t plane = comparison.plane;
  const std::size_t number = static_cast<std::size_t>(blockIdx.z) * comparison.views + patch.view;
  line += number * plane, jacobian += number * 6 * plane;

  float features[kPlanes][kRowsEach][kFeatures];
  for (int i = 0; i < kPlanes; ++i) {
    const float* moving = i == 0 ? line : jacobian + (i - 1) * plane;
    read_patch(image, patch, comparison.kernels.taps / 2, line, moving, memory);
    __syncthreads();
    filter_rows(comparison.kernels, memory);
    __syncthreads();
    filter_columns(comparison.kernels, memory, features[i]);
  }

  const int x = static_cast<int>(threadIdx.x), u = patch.left + x;
  double* const out = moments + (static_cast<std::size_t>(blockIdx.z) * gridDim.x + blockIdx.x) * kFeatures * kSums;
  for (int f = 0; f < kFeatures; ++f) {
    __syncthreads();  // what lay there before is no longer needed
    for (int row = 0; row < kRowsEach; ++row) {
      const int y = static_cast<int>(threadIdx.y) + row * kMomentRows, v = patch.top + y, p = y * kPatchWidth + x;
      const bool inside = u < patch.right && v < patch.bottom;
      const std::size_t index = static_cast<std::size_t>(v) * image.width + u;
      const float root = inside ? std::sqrt(image.weights[index]) : 0.0f;
      for (int i = 0; i < kPlanes; ++i) memory.products.planes[i][p] = root * features[i][row][f];
      memory.products.planes[kPlanes][p] = inside ? root * image.fixed[f][index] : 0.0f;
      memory.products.planes[kPlanes + 1][p] = root;
    }
    __syncthreads();
    sum_products((patch.bottom - patch.top) * kPatchWidth, memory, out + f * kSums);
  }
}

}  // namespace fluoropose::cuda
