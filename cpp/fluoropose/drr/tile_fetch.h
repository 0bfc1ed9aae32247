// Asking ahead for the voxels that a tile's packets read.
#pragma once

#include <cstddef>

#include "fluoropose/drr/packet_corners.h"

namespace fluoropose {

// Slices begin .. end - 1, and where the rays of a tile that are summed are in them.
struct TileWay {
  int begin, end;
  Band along_a, along_b;
};

FLUOROPOSE_HD Band joined(const RayPacket* packets, int count, Band RayPacket::* band, int begin, int end) {
  float low[2] = {1e9f, 1e9f}, high[2] = {-1e9f, -1e9f};
  for (int i = 0; i < count; ++i) {
    const RayPacket& p = packets[i];
    if (p.begin >= p.end) continue;
    for (int last = 0; last < 2; ++last) {
      const float at = (p.*band).at((last ? end - 1 : begin) - p.begin);
      low[last] = at < low[last] ? at : low[last];
      high[last] = at + (p.*band).width > high[last] ? at + (p.*band).width : high[last];
    }
  }
  return band_between(low, high, end - begin);
}

FLUOROPOSE_HD TileWay tile_way(const RayPacket* packets, int count, int slices) {
  TileWay way{slices, 0, {}, {}};
  for (int i = 0; i < count; ++i) {
    if (packets[i].begin >= packets[i].end) continue;
    way.begin = packets[i].begin < way.begin ? packets[i].begin : way.begin;
    way.end = packets[i].end > way.end ? packets[i].end : way.end;
  }
  if (way.begin < way.end) {
    way.along_a = joined(packets, count, &RayPacket::along_a, way.begin, way.end);
    way.along_b = joined(packets, count, &RayPacket::along_b, way.begin, way.end);
  }
  return way;
}

// Asks for what a tile reads of slice k: rows lie too far apart for the processor to foresee them.
template <Gather kWhat, typename Voxel>
FLUOROPOSE_HD void fetch(const Slices<Voxel>& slices, const SliceStrides& s, const TileWay& way, int k) {
  constexpr int kLine = 64 / sizeof(Voxel);
  const auto voxel = [](float x, int n) { return static_cast<int>(clamp(x, static_cast<float>(n - 2))); };
  const float a = way.along_a.at(k - way.begin), b = way.along_b.at(k - way.begin);
  const int first = voxel(a, s.na), last = voxel(a + way.along_a.width + kPatchSide / 2, s.na) + 1;  // a patch is wider
  const int end = voxel(b + way.along_b.width, s.nb) + 1;
  const auto ask = [&](std::ptrdiff_t at) {
    __builtin_prefetch(slices.mu + at);
    if constexpr (kWhat == Gather::kBone) __builtin_prefetch(slices.bone + at);
  };
  for (int row = voxel(b, s.nb); row <= end; ++row) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(k) * s.k + static_cast<std::ptrdiff_t>(row) * s.b;
    ask(at + first), ask(at + last);
    for (int i = first + kLine; i < last; i += kLine) ask(at + i);
  }
}

}  // namespace fluoropose
