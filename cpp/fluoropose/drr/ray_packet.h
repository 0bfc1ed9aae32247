// The hot loop of ray casting on the CPU: a tile of the image marches through the slices together, so that what its
// rays read of a slice lies close together, and in packets, so that the arithmetic becomes vectors.
#pragma once

#include "fluoropose/core/cpu_level.h"
#include "fluoropose/drr/ray_cast.h"

namespace fluoropose {

constexpr int kPacketSide = 4;  // pixels
constexpr int kPacketRays = kPacketSide * kPacketSide;

// What rays sum beside the line: nothing, the bone, or the gradient (see RayGradient).
enum class Gather { kLine, kBone, kGradient };

// Where several lines are, i slices after the first: not below low + i slope, nor more than width above it.
struct Band {
  float low, slope, width;

  float at(int i) const { return low + static_cast<float>(i) * slope; }
};

// Of lines whose least and greatest are known in the first and in the last of count slices: between these two the least
// of several lines never lies below the straight way, nor the greatest above it.
inline Band band_between(const float low[2], const float high[2], int count) {
  const float slope = count > 1 ? (low[1] - low[0]) / static_cast<float>(count - 1) : 0.0f;
  const float first = high[0] - low[0], last = high[1] - low[1];
  return {low[0], slope, first > last ? first : last};
}

// The rays of the pixels (u .. u + 3, v .. v + 3), row by row, that follow an axis one way. They cross slice k at
// (a + (k - begin) da, b + (k - begin) db) and are summed in slices [begin, end); off the grid one sums zeros. Pixels
// whose rays follow another axis, or that are beyond the image, do not count.
struct RayPacket {
  int u, v, axis;
  int counts[kPacketRays];  // 1 or 0
  int begin, end;
  float a[kPacketRays], b[kPacketRays], da[kPacketRays], db[kPacketRays];
  float step_mm[kPacketRays];  // as JosephRay::step_mm
  Band along_a, along_b;       // of the rays that count
  // As RaySums and RayGradient.
  float line[kPacketRays], bone[kPacketRays], nearest_bone[kPacketRays];
  float a0[kPacketRays], a1[kPacketRays], b0[kPacketRays], b1[kPacketRays];
};

// Adds the samples of all slices to the sums of count packets. slices: across the packets' axis, neighbours along a
// side by side in memory.
template <typename Voxel>
using March = void (*)(const Slices<Voxel>& slices, RayPacket* packets, int count);

// level: at most the machine's.
template <typename Voxel>
March<Voxel> march_for(Gather what, CpuLevel level);

}  // namespace fluoropose
