#include "fluoropose/drr/ray_packet.h"

#include <cstddef>
#include <cstring>

#include "fluoropose/core/vectors.h"

namespace fluoropose {
namespace {

constexpr int kRays = kPacketRays;
constexpr int kAhead = 4;  // slices from asking for voxels to reading them

struct PacketTaps {
  int index[kRays];
  float wa[kRays], wb[kRays];
};

struct PacketCorners {
  float q00[kRays], q10[kRays], q01[kRays], q11[kRays];
};

// Reads values[index] and the one after it for every ray.
template <int kLanes>
struct Reader;

// One ray at a time, for any machine.
template <>
struct Reader<1> {
  template <typename Voxel>
  static FLUOROPOSE_HD void read(const Voxel* values, const int* index, float* first, float* second) {
    for (int l = 0; l < kRays; ++l) {
      first[l] = static_cast<float>(values[index[l]]);
      second[l] = static_cast<float>(values[index[l] + 1]);
    }
  }
};

#if FLUOROPOSE_X86_LEVELS
// Each ray's two neighbours in one load, then taken apart: gathers are slow on every x86-64.
template <int kLanes>
struct Reader {
  using Floats = typename Vectors<kLanes>::Floats;
  using Ints = typename Vectors<kLanes>::Ints;
  using Pairs = typename Vectors<kLanes>::Pairs;

  template <typename Pair, typename Voxel>
  static FLUOROPOSE_HD Pair pair(const Voxel* values, int index) {
    static_assert(sizeof(Pair) == 2 * sizeof(Voxel));
    Pair both;
    std::memcpy(&both, values + static_cast<unsigned>(index), sizeof(both));  // unsigned: no sign to extend
    return both;
  }

  // Every four rays' pairs are spread so over two vectors that they come apart without crossing 128 bits.
  static FLUOROPOSE_HD void take_apart(const Pairs& early, const Pairs& late, float* first, float* second) {
    Floats low, high;
    std::memcpy(&low, &early, sizeof(low));
    std::memcpy(&high, &late, sizeof(high));
    Ints even;
    for (int l = 0; l < kLanes; ++l) even[l] = l / 4 * 4 + (l % 4 < 2 ? l % 4 * 2 : kLanes + l % 4 * 2 - 4);
    const Floats firsts = __builtin_shuffle(low, high, even), seconds = __builtin_shuffle(low, high, even + 1);
    std::memcpy(first, &firsts, sizeof(firsts));
    std::memcpy(second, &seconds, sizeof(seconds));
  }

  static FLUOROPOSE_HD void read_lanes(const float* q, const int* i, float* first, float* second) {
    const auto at = [&](int l) { return pair<double>(q, i[l]); };
    if constexpr (kLanes == 8) {
      take_apart(Pairs{at(0), at(1), at(4), at(5)}, Pairs{at(2), at(3), at(6), at(7)}, first, second);
    } else {
      take_apart(Pairs{at(0), at(1), at(4), at(5), at(8), at(9), at(12), at(13)},
                 Pairs{at(2), at(3), at(6), at(7), at(10), at(11), at(14), at(15)}, first, second);
    }
  }

  static FLUOROPOSE_HD void read_lanes(const std::int16_t* q, const int* i, float* first, float* second) {
    const auto at = [&](int l) { return pair<int>(q, i[l]); };
    Ints both;
    if constexpr (kLanes == 8) {
      both = Ints{at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)};
    } else {
      both = Ints{at(0), at(1), at(2),  at(3),  at(4),  at(5),  at(6),  at(7),
                  at(8), at(9), at(10), at(11), at(12), at(13), at(14), at(15)};
    }
    const Floats firsts = __builtin_convertvector((both << 16) >> 16, Floats);  // the low half is the first
    const Floats seconds = __builtin_convertvector(both >> 16, Floats);
    std::memcpy(first, &firsts, sizeof(firsts));
    std::memcpy(second, &seconds, sizeof(seconds));
  }

  template <typename Voxel>
  static FLUOROPOSE_HD void read(const Voxel* values, const int* index, float* first, float* second) {
    for (int l = 0; l < kRays; l += kLanes) read_lanes(values, index + l, first + l, second + l);
  }
};
#endif

// Positions in one slice.
struct PacketPlaces {
  float a[kRays], b[kRays];
};

FLUOROPOSE_HD void place_taps(const SliceStrides& s, const RayPacket& p, int k, PacketPlaces& at, PacketTaps& t) {
  const float f = static_cast<float>(k - p.begin);
#pragma omp simd
  for (int l = 0; l < kRays; ++l) {
    at.a[l] = p.a[l] + f * p.da[l];
    at.b[l] = p.b[l] + f * p.db[l];
    const Tap tap = joseph_tap(s, at.a[l], at.b[l], 0);
    t.index[l] = tap.index, t.wa[l] = tap.wa, t.wb[l] = tap.wb;
  }
}

template <typename Read, typename Voxel>
FLUOROPOSE_HD void load_corners(const Voxel* values, const SliceStrides& s, const PacketTaps& t, PacketCorners& q) {
  Read::read(values, t.index, q.q00, q.q10);
  Read::read(values + s.b, t.index, q.q01, q.q11);
}

FLUOROPOSE_HD void add_samples(const PacketCorners& q, const PacketTaps& t, float* sum) {
#pragma omp simd
  for (int l = 0; l < kRays; ++l) sum[l] += bilinear({q.q00[l], q.q10[l], q.q01[l], q.q11[l]}, t.wa[l], t.wb[l]);
}

FLUOROPOSE_HD void keep_nearest(const PacketCorners& q, const PacketTaps& t, float* near) {
#pragma omp simd
  for (int l = 0; l < kRays; ++l) {
    const float found = nearest({q.q00[l], q.q10[l], q.q01[l], q.q11[l]}, t.wa[l], t.wb[l]);
    near[l] = found > near[l] ? found : near[l];
  }
}

// As add_gradient_sample().
FLUOROPOSE_HD void add_gradients(const SliceStrides& s, const PacketCorners& q, const PacketPlaces& at,
                                 const PacketTaps& t, int k, RayPacket& p) {
  const float depth = static_cast<float>(k) - middle_slice(s.nk);
#pragma omp simd
  for (int l = 0; l < kRays; ++l) {
    const Corners c{q.q00[l], q.q10[l], q.q01[l], q.q11[l]};
    const float along_a = slope_a(c, t.wb[l]) * within(at.a[l], s.na);
    const float along_b = slope_b(c, t.wa[l]) * within(at.b[l], s.nb);
    p.a0[l] += along_a, p.a1[l] += along_a * depth;
    p.b0[l] += along_b, p.b1[l] += along_b * depth;
  }
}

template <int kLanes, Gather kWhat, typename Voxel>
FLUOROPOSE_HD void add_slice(const Slices<Voxel>& slices, const SliceStrides& s, int k, RayPacket& p) {
  PacketPlaces places;
  PacketTaps taps;
  PacketCorners q;
  const std::ptrdiff_t slice = static_cast<std::ptrdiff_t>(k) * s.k;
  place_taps(s, p, k, places, taps);
  load_corners<Reader<kLanes>>(slices.mu + slice, s, taps, q);
  add_samples(q, taps, p.line);
  if constexpr (kWhat == Gather::kGradient) add_gradients(s, q, places, taps, k, p);
  if constexpr (kWhat == Gather::kBone) {
    load_corners<Reader<kLanes>>(slices.bone + slice, s, taps, q);
    add_samples(q, taps, p.bone);
    keep_nearest(q, taps, p.nearest_bone);
  }
}

// A part of a slice: rows low .. high along b, first .. last along a.
struct Window {
  int first, last, low, high;
};

// What a tile reads of slice k: the part between its four corners' rays.
FLUOROPOSE_HD Window tile_window(const SliceStrides& s, int k, const RayPacket& top, const RayPacket& bottom) {
  float a0 = 1e9f, a1 = -1e9f, b0 = 1e9f, b1 = -1e9f;
  for (const RayPacket* p : {&top, &bottom}) {
    for (const int l : {p->left, p->right}) {
      const float f = static_cast<float>(k - p->begin), a = p->a[l] + f * p->da[l], b = p->b[l] + f * p->db[l];
      a0 = a < a0 ? a : a0, a1 = a > a1 ? a : a1;
      b0 = b < b0 ? b : b0, b1 = b > b1 ? b : b1;
    }
  }
  const float na = static_cast<float>(s.na - 2), nb = static_cast<float>(s.nb - 2);
  return {static_cast<int>(clamp(a0, na)), static_cast<int>(clamp(a1, na)) + 1, static_cast<int>(clamp(b0, nb)),
          static_cast<int>(clamp(b1, nb)) + 1};
}

// Rows lie too far apart for the processor to foresee them.
template <typename Voxel>
FLUOROPOSE_HD void fetch(const Voxel* slice, const SliceStrides& s, const Window& w) {
  constexpr int kLine = 64 / sizeof(Voxel);
  for (int b = w.low; b <= w.high; ++b) {
    const Voxel* values = slice + static_cast<std::ptrdiff_t>(b) * s.b;
    for (int a = w.first; a < w.last; a += kLine) __builtin_prefetch(values + a);
    __builtin_prefetch(values + w.last);
  }
}

template <int kLanes, Gather kWhat, typename Voxel>
FLUOROPOSE_HD void march(const Slices<Voxel>& slices, RayPacket* packets, int count) {
  SliceStrides s = slices.strides;
  s.a = 1;
  int begin = s.nk, end = 0, top = count, bottom = 0;
  for (int i = 0; i < count; ++i) {
    if (packets[i].begin >= packets[i].end) continue;
    begin = packets[i].begin < begin ? packets[i].begin : begin;
    end = packets[i].end > end ? packets[i].end : end;
    top = i < top ? i : top, bottom = i;
  }
  for (int k = begin; k < end; ++k) {
    const int ahead = k + kAhead < end ? k + kAhead : end - 1;
    fetch(slices.mu + static_cast<std::ptrdiff_t>(ahead) * s.k, s,
          tile_window(s, ahead, packets[top], packets[bottom]));
    for (int i = top; i <= bottom; ++i) {
      if (packets[i].begin <= k && k < packets[i].end) add_slice<kLanes, kWhat>(slices, s, k, packets[i]);
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
