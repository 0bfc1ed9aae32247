#include "fluoropose/drr/ray_packet.h"

#include <cstddef>

#include "fluoropose/drr/packet_corners.h"
#include "fluoropose/drr/tile_fetch.h"

namespace fluoropose {
namespace {

constexpr int kRays = kPacketRays;
constexpr int kChunk = 8;  // slices that one packet after the other goes through, while the next are fetched

// Positions in one slice.
struct PacketPlaces {
  float a[kRays], b[kRays];
};

// kInside: no position is beyond the slice. Of those that are, nothing is to be read: 0 times NaN is not 0.
template <bool kInside>
FLUOROPOSE_HD void place_cells(const SliceStrides& s, const RayPacket& p, int k, PacketPlaces& at, PacketCells& c) {
  const float f = static_cast<float>(k - p.begin);
#pragma omp simd
  for (int l = 0; l < kRays; ++l) {
    at.a[l] = p.a[l] + f * p.da[l];
    at.b[l] = p.b[l] + f * p.db[l];
    const JosephCell cell = kInside ? inner_cell(at.a[l], at.b[l]) : joseph_cell(s, at.a[l], at.b[l]);
    c.ia[l] = cell.ia, c.ib[l] = cell.ib, c.wa[l] = cell.wa, c.wb[l] = cell.wb;
    const bool here = kInside || (at.a[l] >= 0.0f && at.a[l] <= static_cast<float>(s.na - 1) && at.b[l] >= 0.0f &&
                                  at.b[l] <= static_cast<float>(s.nb - 1));
    c.counts[l] = here ? p.counts[l] : 0;
  }
}

// Each ray's own four voxels.
template <int kLanes>
struct Scattered {
  const SliceStrides& s;
  int index[kRays];

  FLUOROPOSE_HD Scattered(const SliceStrides& strides, const RayPacket&, int, const PacketCells& c) : s(strides) {
#pragma omp simd
    for (int l = 0; l < kRays; ++l) index[l] = c.ia[l] + c.ib[l] * s.b;
  }

  template <typename Voxel>
  FLUOROPOSE_HD void load(const Voxel* slice, PacketCorners& q) const {
    Reader<kLanes>::read(slice, index, q.q00, q.q10);
    Reader<kLanes>::read(slice + s.b, index, q.q01, q.q11);
  }
};

#if FLUOROPOSE_X86_LEVELS
// Out of the patch where the packet's rays are.
template <int kRows>
struct InPatch {
  const SliceStrides& s;
  std::ptrdiff_t first;
  Vectors<16>::Ints at;

  FLUOROPOSE_HD InPatch(const SliceStrides& strides, const RayPacket& p, int k, const PacketCells& c) : s(strides) {
    const int ia = first_of(p.along_a.at(k - p.begin), s.na - kPatchSide);
    const int ib = first_of(p.along_b.at(k - p.begin), s.nb - kRows);
    first = ia + static_cast<std::ptrdiff_t>(ib) * s.b;
    Vectors<16>::Ints a, b;
    std::memcpy(&a, c.ia, sizeof(a));
    std::memcpy(&b, c.ib, sizeof(b));
    at = (b - ib) * kPatchSide + (a - ia);
  }

  // The patch lies within the slice.
  static FLUOROPOSE_HD int first_of(float low, int last) {
    return static_cast<int>(clamp(low - kPatchSlack, static_cast<float>(last)));
  }

  template <typename Voxel>
  FLUOROPOSE_HD void load(const Voxel* slice, PacketCorners& q) const {
    Patch<kRows, Voxel>(slice + first, s.b).read(at, q);
  }
};
#endif

FLUOROPOSE_HD void add_samples(const PacketCorners& q, const PacketCells& c, float* sum) {
#pragma omp simd
  for (int l = 0; l < kRays; ++l) {
    const float sample = bilinear({q.q00[l], q.q10[l], q.q01[l], q.q11[l]}, c.wa[l], c.wb[l]);
    sum[l] += c.counts[l] ? sample : 0.0f;
  }
}

FLUOROPOSE_HD void keep_nearest(const PacketCorners& q, const PacketCells& c, float* near) {
#pragma omp simd
  for (int l = 0; l < kRays; ++l) {
    const float found = nearest({q.q00[l], q.q10[l], q.q01[l], q.q11[l]}, c.wa[l], c.wb[l]);
    near[l] = c.counts[l] && found > near[l] ? found : near[l];
  }
}

// As add_gradient_sample().
FLUOROPOSE_HD void add_gradients(const SliceStrides& s, const PacketCorners& q, const PacketPlaces& at,
                                 const PacketCells& c, int k, RayPacket& p) {
  const float depth = static_cast<float>(k) - middle_slice(s.nk);
#pragma omp simd
  for (int l = 0; l < kRays; ++l) {
    const Corners corners{q.q00[l], q.q10[l], q.q01[l], q.q11[l]};
    const float slope_along_a = slope_a(corners, c.wb[l]) * within(at.a[l], s.na);
    const float slope_along_b = slope_b(corners, c.wa[l]) * within(at.b[l], s.nb);
    const float along_a = c.counts[l] ? slope_along_a : 0.0f, along_b = c.counts[l] ? slope_along_b : 0.0f;
    p.a0[l] += along_a, p.a1[l] += along_a * depth;
    p.b0[l] += along_b, p.b1[l] += along_b * depth;
  }
}

// Adds the samples of slices [begin, end). Reads: Scattered or InPatch.
template <typename Reads, Gather kWhat, bool kInside, typename Voxel>
FLUOROPOSE_HD void add_slices(const Slices<Voxel>& slices, const SliceStrides& s, int begin, int end, RayPacket& p) {
  for (int k = begin; k < end; ++k) {
    PacketPlaces places;
    PacketCells cells;
    PacketCorners q;
    const std::ptrdiff_t slice = static_cast<std::ptrdiff_t>(k) * s.k;
    place_cells<kInside>(s, p, k, places, cells);
    const Reads reads(s, p, k, cells);
    reads.load(slices.mu + slice, q);
    add_samples(q, cells, p.line);
    if constexpr (kWhat == Gather::kGradient) add_gradients(s, q, places, cells, k, p);
    if constexpr (kWhat == Gather::kBone) {
      reads.load(slices.bone + slice, q);
      add_samples(q, cells, p.bone);
      keep_nearest(q, cells, p.nearest_bone);
    }
  }
}

// How many rows of any slice a packet's rays read at most, or 0 where a patch does not hold what they read.
FLUOROPOSE_HD int patch_rows(const SliceStrides& s, const RayPacket& p) {
  constexpr float kWidest = kPatchSide - 2;
  const float a = p.along_a.width + 2 * kPatchSlack, b = p.along_b.width + 2 * kPatchSlack;
  const bool fits = a < kWidest && b < kWidest && s.na >= kPatchSide && s.nb >= kPatchSide;
  return fits ? static_cast<int>(b) + 3 : 0;
}

// Whether rays stay between the outermost voxels of n in slices [begin, end), counted from the packet's first.
FLUOROPOSE_HD bool stays_inside(const Band& band, int begin, int end, int n) {
  const float first = band.at(begin), last = band.at(end - 1), low = first < last ? first : last;
  const float high = (first < last ? last : first) + band.width;
  return low > kPatchSlack && high < static_cast<float>(n - 1) - kPatchSlack;
}

template <typename Reads, Gather kWhat, typename Voxel>
FLUOROPOSE_HD void add_chunk(const Slices<Voxel>& slices, const SliceStrides& s, int begin, int end, RayPacket& p) {
  if (stays_inside(p.along_a, begin - p.begin, end - p.begin, s.na) &&
      stays_inside(p.along_b, begin - p.begin, end - p.begin, s.nb)) {
    add_slices<Reads, kWhat, true>(slices, s, begin, end, p);
  } else {
    add_slices<Reads, kWhat, false>(slices, s, begin, end, p);
  }
}

template <int kLanes, Gather kWhat, typename Voxel>
FLUOROPOSE_HD void march(const Slices<Voxel>& slices, RayPacket* packets, int count) {
  SliceStrides s = slices.strides;
  s.a = 1;
  const TileWay way = tile_way(packets, count, s.nk);
  for (int k = way.begin; k < way.end && k < way.begin + kChunk; ++k) fetch<kWhat>(slices, s, way, k);
  for (int chunk = way.begin; chunk < way.end; chunk += kChunk) {
    int asked = 0;  // of the next chunk's slices
    for (int i = 0; i < count; ++i) {
      for (; asked * count < (i + 1) * kChunk && asked < kChunk; ++asked) {
        if (chunk + kChunk + asked < way.end) fetch<kWhat>(slices, s, way, chunk + kChunk + asked);
      }
      RayPacket& p = packets[i];
      const int begin = chunk > p.begin ? chunk : p.begin, end = chunk + kChunk < p.end ? chunk + kChunk : p.end;
      if (begin >= end) continue;
#if FLUOROPOSE_X86_LEVELS
      if constexpr (kLanes == 16) {
        const int rows = patch_rows(s, p);
        if (rows > 6) add_chunk<InPatch<8>, kWhat>(slices, s, begin, end, p);
        if (rows == 6) add_chunk<InPatch<6>, kWhat>(slices, s, begin, end, p);
        if (rows == 5) add_chunk<InPatch<5>, kWhat>(slices, s, begin, end, p);
        if (rows == 3 || rows == 4) add_chunk<InPatch<4>, kWhat>(slices, s, begin, end, p);
        if (rows > 0) continue;
      }
#endif
      add_chunk<Scattered<kLanes>, kWhat>(slices, s, begin, end, p);
    }
  }
}

template <Gather kWhat, typename Voxel>
void march_baseline(const Slices<Voxel>& slices, RayPacket* packets, int count) {
  march<1, kWhat>(slices, packets, count);
}

#if FLUOROPOSE_X86_LEVELS
template <Gather kWhat, typename Voxel>
FLUOROPOSE_TARGET_V3 void march_v3(const Slices<Voxel>& slices, RayPacket* packets, int count) {
  march<8, kWhat>(slices, packets, count);
}

template <Gather kWhat, typename Voxel>
FLUOROPOSE_TARGET_V4 void march_v4(const Slices<Voxel>& slices, RayPacket* packets, int count) {
  march<16, kWhat>(slices, packets, count);
}
#endif

template <Gather kWhat, typename Voxel>
March<Voxel> march_at([[maybe_unused]] CpuLevel level) {
#if FLUOROPOSE_X86_LEVELS
  if (level == CpuLevel::kV4) return march_v4<kWhat, Voxel>;
  if (level == CpuLevel::kV3) return march_v3<kWhat, Voxel>;
#endif
  return march_baseline<kWhat, Voxel>;
}

}  // namespace

template <typename Voxel>
March<Voxel> march_for(Gather what, CpuLevel level) {
  if (what == Gather::kBone) return march_at<Gather::kBone, Voxel>(level);
  if (what == Gather::kGradient) return march_at<Gather::kGradient, Voxel>(level);
  return march_at<Gather::kLine, Voxel>(level);
}

template March<float> march_for(Gather, CpuLevel);
template March<std::int16_t> march_for(Gather, CpuLevel);

}  // namespace fluoropose
