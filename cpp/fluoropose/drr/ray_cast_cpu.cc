#include "fluoropose/drr/ray_cast_cpu.h"

#include <algorithm>

namespace fluoropose {
namespace {

constexpr int kLanes = 16;  // rays that march together, so that the arithmetic becomes vectors

struct Packet {
  float a[kLanes], b[kLanes], da[kLanes], db[kLanes];
  int k[kLanes], dk[kLanes];
  float line[kLanes], bone[kLanes], nearest_bone[kLanes];
};

struct PacketTaps {
  int index[kLanes];
  float wa[kLanes], wb[kLanes];
};

struct PacketCorners {
  float q00[kLanes], q10[kLanes], q01[kLanes], q11[kLanes];
};

FLUOROPOSE_HD void place_taps(const SliceStrides& s, const Packet& p, int i, PacketTaps& t) {
  const float f = static_cast<float>(i);
#pragma omp simd
  for (int l = 0; l < kLanes; ++l) {
    const Tap tap = joseph_tap(s, p.a[l] + f * p.da[l], p.b[l] + f * p.db[l], p.k[l] + i * p.dk[l]);
    t.index[l] = tap.index, t.wa[l] = tap.wa, t.wb[l] = tap.wb;
  }
}

// Apart from the arithmetic, which then becomes vectors even where a machine has no fast gather.
FLUOROPOSE_HD void load_corners(const float* values, const SliceStrides& s, const PacketTaps& t, PacketCorners& q) {
  for (int l = 0; l < kLanes; ++l) {
    const Corners c = corners(values, s, {t.index[l], 0.0f, 0.0f});
    q.q00[l] = c.q00, q.q10[l] = c.q10, q.q01[l] = c.q01, q.q11[l] = c.q11;
  }
}

FLUOROPOSE_HD void add_samples(const PacketCorners& q, const PacketTaps& t, float* sum) {
#pragma omp simd
  for (int l = 0; l < kLanes; ++l) sum[l] += bilinear({q.q00[l], q.q10[l], q.q01[l], q.q11[l]}, t.wa[l], t.wb[l]);
}

FLUOROPOSE_HD void keep_nearest(const PacketCorners& q, const PacketTaps& t, float* near) {
#pragma omp simd
  for (int l = 0; l < kLanes; ++l) {
    const float found = nearest({q.q00[l], q.q10[l], q.q01[l], q.q11[l]}, t.wa[l], t.wb[l]);
    near[l] = found > near[l] ? found : near[l];
  }
}

FLUOROPOSE_HD void march(const Slices& slices, bool with_bone, int count, Packet& packet) {
  const SliceStrides s = slices.strides;
  Packet p = packet;
  PacketTaps taps;
  PacketCorners q;
  for (int i = 0; i < count; ++i) {
    place_taps(s, p, i, taps);
    load_corners(slices.mu, s, taps, q);
    add_samples(q, taps, p.line);
    if (!with_bone) continue;
    load_corners(slices.bone, s, taps, q);
    add_samples(q, taps, p.bone);
    keep_nearest(q, taps, p.nearest_bone);
  }
  packet = p;
}

void march_baseline(const Slices& slices, bool with_bone, int count, Packet& packet) {
  march(slices, with_bone, count, packet);
}

#if FLUOROPOSE_X86_LEVELS
FLUOROPOSE_TARGET_V3 void march_v3(const Slices& slices, bool with_bone, int count, Packet& packet) {
  march(slices, with_bone, count, packet);
}

FLUOROPOSE_TARGET_V4 void march_v4(const Slices& slices, bool with_bone, int count, Packet& packet) {
  march(slices, with_bone, count, packet);
}
#endif

using March = void (*)(const Slices&, bool, int, Packet&);

March march_for([[maybe_unused]] CpuLevel level) {
#if FLUOROPOSE_X86_LEVELS
  if (level == CpuLevel::kV4) return march_v4;
  if (level == CpuLevel::kV3) return march_v3;
#endif
  return march_baseline;
}

void cast_packet(const Slices slices[3], const Vec3<int>& size, const VoxelView& view, March march_packet, int u0,
                 int v, const DrrImages& out) {
  const int lanes = std::min(kLanes, view.width - u0);
  JosephRay rays[kLanes];
  int longest[3] = {};
  for (int l = 0; l < lanes; ++l) {
    rays[l] = joseph_ray(size, view, u0 + l, v);
    longest[rays[l].axis] = std::max(longest[rays[l].axis], rays[l].count);
  }
  Packet p{};
  for (int axis = 0; axis < 3; ++axis) {
    if (longest[axis] == 0) continue;
    for (int l = 0; l < kLanes; ++l) {
      // A ray of another axis stays in the rim, where it sums zeros; so does a ray that is through before the longest.
      const JosephRay ray = l < lanes && rays[l].axis == axis ? rays[l] : JosephRay{};
      p.a[l] = ray.a, p.b[l] = ray.b, p.da[l] = ray.da, p.db[l] = ray.db, p.k[l] = ray.k, p.dk[l] = ray.dk;
    }
    march_packet(slices[axis], out.mask != nullptr, longest[axis], p);
  }
  for (int l = 0; l < lanes; ++l) {
    const RaySums sums{p.line[l], p.bone[l], p.nearest_bone[l]};
    const int index = v * view.width + u0 + l;
    out.mask ? store_pixel<true>(sums, rays[l].step_mm, index, out)
             : store_pixel<false>(sums, rays[l].step_mm, index, out);
  }
}

}  // namespace

void ray_cast_cpu(const Grid& grid, const VoxelView& view, const DrrImages& out, CpuLevel level) {
  const Slices slices[3] = {grid.slices(0), grid.slices(1), grid.slices(2)};
  const Vec3<int> size = grid.size();
  const March march_packet = march_for(level);
#pragma omp parallel for schedule(dynamic, 2)
  for (int v = 0; v < view.height; ++v) {
    for (int u = 0; u < view.width; u += kLanes) cast_packet(slices, size, view, march_packet, u, v, out);
  }
}

}  // namespace fluoropose
