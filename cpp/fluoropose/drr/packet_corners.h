// How a packet of rays gets at the voxels around its samples: each ray's own, or, where the rays are close together,
// out of a patch of the slice that the registers hold.
#pragma once

#include <cstdint>
#include <cstring>

#include "fluoropose/core/vectors.h"
#include "fluoropose/drr/ray_packet.h"

namespace fluoropose {

constexpr int kPatchSide = 8;         // voxels
constexpr float kPatchSlack = 0.01f;  // voxels; positions lose 2e-4 to rounding where sides are 512 long

struct PacketCells {
  int ia[kPacketRays], ib[kPacketRays];
  float wa[kPacketRays], wb[kPacketRays];
  int counts[kPacketRays];  // of the packet's that count, those within the slice
};

struct PacketCorners {
  float q00[kPacketRays], q10[kPacketRays], q01[kPacketRays], q11[kPacketRays];
};

// Reads values[index] and the one after it for every ray.
template <int kLanes>
struct Reader;

// One ray at a time, for any machine.
template <>
struct Reader<1> {
  template <typename Voxel>
  static FLUOROPOSE_HD void read(const Voxel* values, const int* index, float* first, float* second) {
    for (int l = 0; l < kPacketRays; ++l) {
      first[l] = static_cast<float>(values[index[l]]);
      second[l] = static_cast<float>(values[index[l] + 1]);
    }
  }
};

#if FLUOROPOSE_X86_LEVELS
// both: two voxels of 16 bits, the first in the low half.
template <int kLanes>
FLUOROPOSE_HD void store_halves(const typename Vectors<kLanes>::Ints& both, float* first, float* second) {
  using Floats = typename Vectors<kLanes>::Floats;
  const Floats firsts = __builtin_convertvector((both << 16) >> 16, Floats);
  const Floats seconds = __builtin_convertvector(both >> 16, Floats);
  std::memcpy(first, &firsts, sizeof(firsts));
  std::memcpy(second, &seconds, sizeof(seconds));
}

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
    store_halves<kLanes>(both, first, second);
  }

  template <typename Voxel>
  static FLUOROPOSE_HD void read(const Voxel* values, const int* index, float* first, float* second) {
    for (int l = 0; l < kPacketRays; l += kLanes) read_lanes(values, index + l, first + l, second + l);
  }
};

// kRows <= 8 rows of 8 voxels of a slice, looked up by row * 8 + column. AVX-512 alone has registers of this size and
// looks a value up in two of them at once. Rows that nobody wants cost time, for they may not be in the cache.
template <int kRows, typename Voxel>
struct Patch;

template <int kRows>
struct Patch<kRows, float> {
  using Floats = Vectors<16>::Floats;
  using Ints = Vectors<16>::Ints;
  Floats pairs[4];  // of rows

  // from: the first voxel. stride: from one row to the next.
  FLUOROPOSE_HD Patch(const float* from, std::ptrdiff_t stride) {
    for (int i = 0; 2 * i < kRows; ++i) {
      Vectors<8>::Floats upper, lower;
      std::memcpy(&upper, from + 2 * i * stride, sizeof(upper));
      lower = upper;
      if (2 * i + 1 < kRows) std::memcpy(&lower, from + (2 * i + 1) * stride, sizeof(lower));
      pairs[i] = __builtin_shufflevector(upper, lower, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    }
  }

  FLUOROPOSE_HD void look_up(const Ints& at, const Ints& far, float* found) const {
    Floats value = __builtin_shuffle(pairs[0], pairs[1], at);
    if constexpr (kRows > 6) value = far != 0 ? __builtin_shuffle(pairs[2], pairs[3], at) : value;
    if constexpr (kRows > 4 && kRows <= 6) value = far != 0 ? __builtin_shuffle(pairs[2], at) : value;
    std::memcpy(found, &value, sizeof(value));
  }

  FLUOROPOSE_HD void read(const Ints& at, PacketCorners& q) const {
    const Ints below = at + kPatchSide, far = at & kHalf, far_below = below & kHalf;
    look_up(at, far, q.q00), look_up(at + 1, far, q.q10);
    look_up(below, far_below, q.q01), look_up(below + 1, far_below, q.q11);
  }

 private:
  static constexpr int kHalf = kPatchSide * kPatchSide / 2;
};

template <int kRows>
struct Patch<kRows, std::int16_t> {
  using Ints = Vectors<16>::Ints;
  typedef short Words __attribute__((vector_size(64)));
  Words fours[2];  // rows

  FLUOROPOSE_HD Patch(const std::int16_t* from, std::ptrdiff_t stride) {
    typedef double Row __attribute__((vector_size(16)));
    for (int i = 0; 4 * i < kRows; ++i) {
      Row row[4] = {};
      for (int j = 0; j < 4; ++j) {
        if (4 * i + j < kRows) std::memcpy(&row[j], from + (4 * i + j) * stride, sizeof(Row));
      }
      const auto upper = __builtin_shufflevector(row[0], row[1], 0, 1, 2, 3);
      const auto lower = __builtin_shufflevector(row[2], row[3], 0, 1, 2, 3);
      const auto all = __builtin_shufflevector(upper, lower, 0, 1, 2, 3, 4, 5, 6, 7);
      std::memcpy(&fours[i], &all, sizeof(all));
    }
  }

  FLUOROPOSE_HD void look_up(const Ints& at, float* first, float* second) const {
    const Ints pair = at * 0x10001 + 0x10000;  // this voxel and the next
    Words which, found;
    std::memcpy(&which, &pair, sizeof(pair));
    if constexpr (kRows > 4) {
      found = __builtin_shuffle(fours[0], fours[1], which);
    } else {
      found = __builtin_shuffle(fours[0], which);
    }
    Ints both;
    std::memcpy(&both, &found, sizeof(found));
    store_halves<16>(both, first, second);
  }

  FLUOROPOSE_HD void read(const Ints& at, PacketCorners& q) const {
    look_up(at, q.q00, q.q10), look_up(at + kPatchSide, q.q01, q.q11);
  }
};
#endif

}  // namespace fluoropose
