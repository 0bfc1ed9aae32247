#include "fluoropose/drr/ray_cast_cpu.h"

#include <algorithm>

#include "fluoropose/drr/jacobian_sinks.h"

namespace fluoropose {
namespace {

constexpr int kLanes = 16;  // rays that march together, so that the arithmetic becomes vectors

enum class Gather { kLine, kBone, kGradient };

struct Packet {
  float a[kLanes], b[kLanes], da[kLanes], db[kLanes];
  int k[kLanes], dk[kLanes];
  float line[kLanes], bone[kLanes], nearest_bone[kLanes];
  float a0[kLanes], a1[kLanes], b0[kLanes], b1[kLanes];
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
template <typename Voxel>
FLUOROPOSE_HD void load_corners(const Voxel* values, const SliceStrides& s, const PacketTaps& t, PacketCorners& q) {
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

// As add_gradient_sample().
FLUOROPOSE_HD void add_gradients(const SliceStrides& s, const PacketCorners& q, const PacketTaps& t, int i, Packet& p) {
  const float f = static_cast<float>(i), middle = middle_slice(s.nk);
#pragma omp simd
  for (int l = 0; l < kLanes; ++l) {
    const Corners c{q.q00[l], q.q10[l], q.q01[l], q.q11[l]};
    const float depth = static_cast<float>(p.k[l] + i * p.dk[l]) - middle;
    const float along_a = slope_a(c, t.wb[l]) * within(p.a[l] + f * p.da[l], s.na);
    const float along_b = slope_b(c, t.wa[l]) * within(p.b[l] + f * p.db[l], s.nb);
    p.a0[l] += along_a, p.a1[l] += along_a * depth;
    p.b0[l] += along_b, p.b1[l] += along_b * depth;
  }
}

template <Gather kWhat, typename Voxel>
FLUOROPOSE_HD void march(const Slices<Voxel>& slices, int count, Packet& packet) {
  const SliceStrides s = slices.strides;
  Packet p = packet;
  PacketTaps taps;
  PacketCorners q;
  for (int i = 0; i < count; ++i) {
    place_taps(s, p, i, taps);
    load_corners(slices.mu, s, taps, q);
    add_samples(q, taps, p.line);
    if constexpr (kWhat == Gather::kGradient) add_gradients(s, q, taps, i, p);
    if constexpr (kWhat == Gather::kBone) {
      load_corners(slices.bone, s, taps, q);
      add_samples(q, taps, p.bone);
      keep_nearest(q, taps, p.nearest_bone);
    }
  }
  packet = p;
}

template <Gather kWhat, typename Voxel>
void march_baseline(const Slices<Voxel>& slices, int count, Packet& packet) {
  march<kWhat>(slices, count, packet);
}

#if FLUOROPOSE_X86_LEVELS
template <Gather kWhat, typename Voxel>
FLUOROPOSE_TARGET_V3 void march_v3(const Slices<Voxel>& slices, int count, Packet& packet) {
  march<kWhat>(slices, count, packet);
}

template <Gather kWhat, typename Voxel>
FLUOROPOSE_TARGET_V4 void march_v4(const Slices<Voxel>& slices, int count, Packet& packet) {
  march<kWhat>(slices, count, packet);
}
#endif

template <typename Voxel>
using March = void (*)(const Slices<Voxel>&, int, Packet&);

template <Gather kWhat, typename Voxel>
March<Voxel> march_for([[maybe_unused]] CpuLevel level) {
#if FLUOROPOSE_X86_LEVELS
  if (level == CpuLevel::kV4) return march_v4<kWhat, Voxel>;
  if (level == CpuLevel::kV3) return march_v3<kWhat, Voxel>;
#endif
  return march_baseline<kWhat, Voxel>;
}

// What all packets of an image share.
template <typename Voxel>
struct Caster {
  Slices<Voxel> slices[3];
  Vec3<int> size;
  Bricks bricks;
  const VoxelView& view;
  March<Voxel> march;

  Caster(const Grid<Voxel>& grid, const VoxelView& seen, March<Voxel> with)
      : slices{grid.slices(0), grid.slices(1), grid.slices(2)},
        size(grid.size()),
        bricks(grid.bricks()),
        view(seen),
        march(with) {}

  // Casts the rays of pixels (u0 .. u0 + lanes - 1, v) and leaves their sums in the packet.
  void cast(int u0, int v, int lanes, JosephRay* rays, Packet& p) const {
    int longest[3] = {};
    for (int l = 0; l < lanes; ++l) {
      rays[l] = joseph_ray(size, view, u0 + l, v);
      trim_ray(bricks, rays[l]);
      longest[rays[l].axis] = std::max(longest[rays[l].axis], rays[l].count);
    }
    for (int axis = 0; axis < 3; ++axis) {
      if (longest[axis] == 0) continue;
      for (int l = 0; l < kLanes; ++l) {
        // A ray of another axis stays in the rim, where it sums zeros; so does one that is through before the longest.
        const JosephRay ray = l < lanes && rays[l].axis == axis ? rays[l] : JosephRay{};
        p.a[l] = ray.a, p.b[l] = ray.b, p.da[l] = ray.da, p.db[l] = ray.db, p.k[l] = ray.k, p.dk[l] = ray.dk;
      }
      march(slices[axis], longest[axis], p);
    }
  }
};

template <typename Voxel>
void cast_images(const Caster<Voxel>& caster, int u0, int v, const DrrImages& out) {
  const int width = caster.view.width, lanes = std::min(kLanes, width - u0);
  JosephRay rays[kLanes];
  Packet p{};
  caster.cast(u0, v, lanes, rays, p);
  for (int l = 0; l < lanes; ++l) {
    const RaySums sums{p.line[l], p.bone[l], p.nearest_bone[l]};
    const int index = v * width + u0 + l;
    out.mask ? store_pixel<true>(sums, rays[l].step_mm, index, out)
             : store_pixel<false>(sums, rays[l].step_mm, index, out);
  }
}

template <typename Voxel>
void cast_jacobian(const Caster<Voxel>& caster, const PoseFrame frames[3], int u0, int v, float* line, float* pose[6]) {
  const int lanes = std::min(kLanes, caster.view.width - u0);
  JosephRay rays[kLanes];
  Packet p{};
  caster.cast(u0, v, lanes, rays, p);
  for (int l = 0; l < lanes; ++l) {
    const int u = u0 + l;
    line[u] = p.line[l] * rays[l].step_mm;
    const RayGradient gradient{p.a0[l], p.a1[l], p.b0[l], p.b1[l]};
    const PoseDerivative d = pose_derivative(frames[rays[l].axis], static_cast<float>(u), static_cast<float>(v),
                                             line[u], rays[l].step_mm, gradient);
    pose[0][u] = d.omega.x, pose[1][u] = d.omega.y, pose[2][u] = d.omega.z;
    pose[3][u] = d.v.x, pose[4][u] = d.v.y, pose[5][u] = d.v.z;
  }
}

}  // namespace

template <typename Voxel>
void ray_cast_cpu(const Grid<Voxel>& grid, const VoxelView& view, const DrrImages& out, CpuLevel level) {
  const Caster<Voxel> caster(
      grid, view, out.mask ? march_for<Gather::kBone, Voxel>(level) : march_for<Gather::kLine, Voxel>(level));
#pragma omp parallel for schedule(dynamic, 2)
  for (int v = 0; v < view.height; ++v) {
    for (int u = 0; u < view.width; u += kLanes) cast_images(caster, u, v, out);
  }
}

template <typename Voxel>
void ray_cast_jacobian_cpu(const Grid<Voxel>& grid, const VoxelView& view, const PoseFrame frames[3],
                           const JacobianSink& sink, CpuLevel level) {
  const Caster<Voxel> caster(grid, view, march_for<Gather::kGradient, Voxel>(level));
#pragma omp parallel
  {
    JacobianBuffer row(view.width);
#pragma omp for schedule(dynamic, 2)
    for (int v = 0; v < view.height; ++v) {
      for (int u = 0; u < view.width; u += kLanes) cast_jacobian(caster, frames, u, v, row.line(), row.pose());
      sink(row.at(v));
    }
  }
}

#define FLUOROPOSE_FOR(Voxel)                                                                          \
  template void ray_cast_cpu(const Grid<Voxel>&, const VoxelView&, const DrrImages&, CpuLevel);        \
  template void ray_cast_jacobian_cpu(const Grid<Voxel>&, const VoxelView&, const PoseFrame frames[3], \
                                      const JacobianSink&, CpuLevel);
FLUOROPOSE_FOR(float)
FLUOROPOSE_FOR(std::int16_t)
#undef FLUOROPOSE_FOR

}  // namespace fluoropose
