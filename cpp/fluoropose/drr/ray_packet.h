// The hot loop of ray casting on the CPU: a tile of the image marches through the slices together, so that what its
// rays read of a slice lies close together, and in packets, so that the arithmetic becomes vectors.
#pragma once

#include "fluoropose/core/cpu_level.h"
#include "fluoropose/drr/ray_cast.h"

namespace fluoropose {

constexpr int kPacketRays = 16;
constexpr int kTilePackets = 8;

// What rays sum beside the line: nothing, the bone, or the gradient (see RayGradient).
enum class Gather { kLine, kBone, kGradient };

// Rays that cross slice k at (a + (k - begin) da, b + (k - begin) db), and are summed in slices [begin, end). Where one
// is off the grid, or in air, it sums zeros.
struct RayPacket {
  float a[kPacketRays], b[kPacketRays], da[kPacketRays], db[kPacketRays];
  int begin, end;
  int left, right;  // the outermost rays that are summed
  float line[kPacketRays], bone[kPacketRays], nearest_bone[kPacketRays];
  float a0[kPacketRays], a1[kPacketRays], b0[kPacketRays], b1[kPacketRays];
};

// Adds the samples of all slices to the sums of count packets. slices: neighbours along a side by side in memory.
template <typename Voxel>
using March = void (*)(const Slices<Voxel>& slices, RayPacket* packets, int count);

// level: at most the machine's.
template <typename Voxel>
March<Voxel> march_for(Gather what, CpuLevel level);

}  // namespace fluoropose
