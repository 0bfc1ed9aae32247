// How the rays of a square of pixels go through a grid, as packets.
#pragma once

#include <vector>

#include "fluoropose/drr/ray_packet.h"

namespace fluoropose {

// By the axis that they follow.
using Packets = std::vector<RayPacket>[3];

// Adds the rays of pixels (u .. u + 3, v .. v + 3), each to one packet; a packet may have nothing to sum.
// size: voxels along x, y, z, rim included.
void add_packets(const Vec3<int>& size, const Bricks& bricks, const VoxelView& view, int u, int v, Packets& packets);

}  // namespace fluoropose
