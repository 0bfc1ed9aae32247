// The kernel that makes normal equations of products and decides on every climb's next step.
#pragma once

#include "moments.cuh"

namespace fluoropose::cuda {

constexpr int kClimbThreads = 256, kSummers = 64;
constexpr int kStepSums = 1 + 6 + 21;  // the value, J^T r, the lower triangle of J^T J

// Sums patches' moments into those of the tiles (tiles, kFeatures, kSums) of one climb.
__device__ inline void sum_patches(const Comparison& comparison, const double* of_patches, double* of_tiles) {
  constexpr int kOfTile = kFeatures * kSums, kAtOnce = 8;  // so many reads need not wait for each other
  for (int n = static_cast<int>(threadIdx.x); n < comparison.tile_count * kOfTile; n += kClimbThreads) {
    const Tile& tile = comparison.tiles[n / kOfTile];
    const double* const from = of_patches + n % kOfTile;
    double sums[kAtOnce] = {};
    for (int patch = tile.first_patch; patch < tile.last_patch; patch += kAtOnce) {
      for (int i = 0; i < kAtOnce; ++i) {
        if (patch + i < tile.last_patch) sums[i] += from[static_cast<std::size_t>(patch + i) * kOfTile];
      }
    }
    double total = 0.0;
    for (const double sum : sums) total += sum;
    of_tiles[n] = total;
  }
}

// The block's normal equations, on its first thread: means over the views.
__device__ inline NormalStep sum_tiles(const Comparison& comparison, const Moments<kPlanes>* of_tiles) {
  __shared__ double parts[kSummers][kStepSums], sums[kStepSums];
  __shared__ unsigned shown[kSummers];  // a bit for each view and feature
  const int thread = static_cast<int>(threadIdx.x), views = comparison.views;
  if (thread < kSummers) {
    NormalStep own{};
    unsigned shows = 0;
    for (int n = thread; n < comparison.tile_count * kFeatures; n += kSummers) {
      const Tile& tile = comparison.tiles[n / kFeatures];
      const int f = n % kFeatures;
      if (add_tile(of_tiles[n], tile.weight, tile.shares[f], own)) shows |= 1u << (tile.view * kFeatures + f);
    }
    shown[thread] = shows;
    double* part = parts[thread];
    *part++ = own.value;
    for (int i = 0; i < 6; ++i) *part++ = own.jtr[i];
    for (int i = 0; i < 6; ++i) {
      for (int j = 0; j <= i; ++j) *part++ = own.jtj[i][j];
    }
  }
  __syncthreads();
  if (thread < kStepSums) {
    double sum = 0.0;
    for (int n = 0; n < kSummers; ++n) sum += parts[n][thread];
    sums[thread] = sum;
  }
  __syncthreads();
  NormalStep step{};
  if (thread != 0) return step;
  unsigned shows = 0;
  for (const unsigned one : shown) shows |= one;
  const unsigned all = views * kFeatures == 32 ? ~0u : (1u << (views * kFeatures)) - 1;
  const double* sum = sums;
  step.value = shows == all ? *sum : NAN;
  ++sum;
  for (int i = 0; i < 6; ++i) step.jtr[i] = *sum++;
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j <= i; ++j) step.jtj[i][j] = *sum++;
  }
  fill_upper_triangle(step);
  return step;
}

// A block per climb. of_patches: (climbs, patches, kFeatures, kSums); of_tiles: (climbs, tiles, kFeatures), for the
// kernel's own use; world_from_bone: (climbs), where to look next, NaN where there is no need to.
static __global__ void climb_kernel(const __grid_constant__ Comparison comparison,
                                    const __grid_constant__ LevenbergSettings settings, const double* of_patches,
                                    Moments<kPlanes>* of_tiles, DampedClimb* climbs, Affine3<double>* world_from_bone) {
  static_assert(sizeof(Moments<kPlanes>) == kSums * sizeof(double));
  static_assert(CudaClimber::kMostViews * kFeatures <= 32);
  if (climbs[blockIdx.x].finished) return;
  of_patches += static_cast<std::size_t>(blockIdx.x) * comparison.patch_count * kFeatures * kSums;
  of_tiles += static_cast<std::size_t>(blockIdx.x) * comparison.tile_count * kFeatures;
  sum_patches(comparison, of_patches, reinterpret_cast<double*>(of_tiles));
  __syncthreads();
  const NormalStep there = sum_tiles(comparison, of_tiles);
  if (threadIdx.x != 0) return;
  DampedClimb climb = climbs[blockIdx.x];
  advance(climb, there, settings);
  climbs[blockIdx.x] = climb;
  if (climb.finished) climb.world_from_bone.row0.x = NAN;
  world_from_bone[blockIdx.x] = climb.world_from_bone;
}

}  // namespace fluoropose::cuda
