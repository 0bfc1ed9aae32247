#include "fluoropose/drr/shear_rows.h"

#include <cstring>
#include <type_traits>

#include "fluoropose/core/vectors.h"

namespace fluoropose {
namespace {

constexpr int kPad = kShearPad;
constexpr int kTail = 2 * kPad;  // zeros behind a blended row, so that whole vectors can be read across its end

// Where the pixels of an intermediate row fall in a slice: the voxel before each, and how far towards the next.
struct Columns {
  int* voxel;  // rising
  float* weight;
  float da;  // voxels from pixel to pixel
};

// Sums row[voxel] + weight (row[voxel + 1] - row[voxel]) into sum[first .. last], and on to a multiple of kLanes.
template <int kLanes>
struct Reader;

// One pixel at a time, for any machine.
template <>
struct Reader<1> {
  static bool fits(const Columns&) { return true; }

  static FLUOROPOSE_HD void add(const float* row, const Columns& c, int first, int last, float* sum) {
    for (int i = first; i <= last; ++i) {
      const float* q = row + c.voxel[i];
      sum[i] += q[0] + c.weight[i] * (q[1] - q[0]);
    }
  }

  static FLUOROPOSE_HD void add_with_lever(const float* row, const Columns& c, int first, int last, float* sum,
                                           float arm, float* lever) {
    for (int i = first; i <= last; ++i) {
      const float* q = row + c.voxel[i];
      const float sample = q[0] + c.weight[i] * (q[1] - q[0]);
      sum[i] += sample;
      lever[i] += arm * sample;
    }
  }

  static FLUOROPOSE_HD void keep_nearest(const float* row, const Columns& c, int first, int last, float* near) {
    for (int i = first; i <= last; ++i) {
      const float found = row[c.voxel[i] + (c.weight[i] < 0.5f ? 0 : 1)];
      near[i] = found > near[i] ? found : near[i];
    }
  }
};

#if FLUOROPOSE_X86_LEVELS
// kLanes pixels at a time. The voxels that they need lie within two vectors, so that a permutation of these replaces
// the gather, which is slow on every x86-64.
template <int kLanes>
struct Reader {
  using Floats = typename Vectors<kLanes>::Floats;
  using Ints = typename Vectors<kLanes>::Ints;

  // The last lane's second voxel is the highest read.
  static FLUOROPOSE_HD bool fits(const Columns& c) {
    return static_cast<float>(kLanes - 1) * c.da + 2.0f < static_cast<float>(2 * kLanes - 1);
  }

  static FLUOROPOSE_HD void sample(const float* row, const Columns& c, int i, Floats& values) {
    Floats low, high, weight;
    Ints at;
    std::memcpy(&low, row + c.voxel[i], sizeof(low));
    std::memcpy(&high, row + c.voxel[i] + kLanes, sizeof(high));
    std::memcpy(&at, c.voxel + i, sizeof(at));
    std::memcpy(&weight, c.weight + i, sizeof(weight));
    at -= c.voxel[i];
    const Floats q0 = __builtin_shuffle(low, high, at), q1 = __builtin_shuffle(low, high, at + 1);
    values = q0 + weight * (q1 - q0);
  }

  static FLUOROPOSE_HD void add_to(float* sum, const Floats& values) {
    Floats total;
    std::memcpy(&total, sum, sizeof(total));
    total += values;
    std::memcpy(sum, &total, sizeof(total));
  }

  static FLUOROPOSE_HD void add(const float* row, const Columns& c, int first, int last, float* sum) {
    Floats values;
    for (int i = first; i <= last; i += kLanes) {
      sample(row, c, i, values);
      add_to(sum + i, values);
    }
  }

  static FLUOROPOSE_HD void add_with_lever(const float* row, const Columns& c, int first, int last, float* sum,
                                           float arm, float* lever) {
    Floats values;
    for (int i = first; i <= last; i += kLanes) {
      sample(row, c, i, values);
      add_to(sum + i, values);
      add_to(lever + i, values * arm);
    }
  }

  static FLUOROPOSE_HD void keep_nearest(const float* row, const Columns& c, int first, int last, float* near) {
    Floats low, high, weight, kept;
    Ints at;
    for (int i = first; i <= last; i += kLanes) {
      std::memcpy(&low, row + c.voxel[i], sizeof(low));
      std::memcpy(&high, row + c.voxel[i] + kLanes, sizeof(high));
      std::memcpy(&at, c.voxel + i, sizeof(at));
      std::memcpy(&weight, c.weight + i, sizeof(weight));
      std::memcpy(&kept, near + i, sizeof(kept));
      at -= c.voxel[i];
      at -= weight >= 0.5f;  // a comparison gives -1 where it holds
      const Floats found = __builtin_shuffle(low, high, at);
      kept = found > kept ? found : kept;
      std::memcpy(near + i, &kept, sizeof(kept));
    }
  }
};
#endif

struct Scratch {
  float* blended;
  Columns columns;
  bool placed;  // columns, for the slice at hand
};

FLUOROPOSE_HD Scratch divide(float* scratch, int width) {
  float* weight = scratch;
  float* voxel = weight + width + kPad;
  return {voxel + width + kPad, {reinterpret_cast<int*>(voxel), weight, 0.0f}, false};
}

FLUOROPOSE_HD void place_columns(const SliceMap& map, int na, int count, Columns& c) {
  const float a0 = map.a, da = map.da, end = static_cast<float>(na - 1);
  int* voxel = c.voxel;
  float* weight = c.weight;
  c.da = da;
#pragma omp simd
  for (int i = 0; i < count; ++i) {
    const float a = clamp(a0 + static_cast<float>(i) * da, end);
    const int before = static_cast<int>(a);
    voxel[i] = before;
    weight[i] = a - static_cast<float>(before);
  }
}

// Rows lie far apart in memory, too far for the processor to foresee the next.
template <typename Voxel>
FLUOROPOSE_HD void fetch(const Voxel* row, const Extent& e) {
  constexpr int kLine = 64 / sizeof(Voxel);
  for (int x = e.first; x < e.last; x += kLine) __builtin_prefetch(row + x);
}

// Pixels of the row whose sample can touch voxels [first, last), cut to the image.
FLUOROPOSE_HD Extent touched(const Extent& e, const SliceMap& map, int width) {
  const float lowest = (static_cast<float>(e.first - 1) - map.a) / map.da;
  const float highest = (static_cast<float>(e.last) - map.a) / map.da;
  if (e.last <= e.first || !(highest >= 0.0f) || !(lowest <= static_cast<float>(width - 1))) return {0, -1};
  const int first = lowest > 0.0f ? static_cast<int>(lowest) + 1 : 0;
  const int last = highest < static_cast<float>(width - 1) ? static_cast<int>(highest) + 1 : width - 1;
  return {first, last < width ? last : width - 1};
}

FLUOROPOSE_HD Extent join(const Extent& e, const Extent& f) {
  if (e.last <= e.first) return f;
  if (f.last <= f.first) return e;
  return {e.first < f.first ? e.first : f.first, e.last > f.last ? e.last : f.last};
}

// blended = row0 + w (row1 - row0) on the voxels that pixels touched by the extent read; a pixel at its start may be
// rounded to one voxel before.
template <typename Voxel>
FLUOROPOSE_HD void blend(const Voxel* row0, const Voxel* row1, float w, const Extent& e, float* blended) {
  const int first = e.first > 2 ? e.first - 2 : 0;
#pragma omp simd
  for (int x = first; x < e.last; ++x) {
    const float v0 = static_cast<float>(row0[x]), v1 = static_cast<float>(row1[x]);
    blended[x] = v0 + w * (v1 - v0);
  }
  for (int x = e.last; x < e.last + kTail; ++x) blended[x] = 0.0f;
}

// The two voxel rows around a row of the intermediate image.
struct RowPair {
  int number, next;
  int ahead;     // the second one's place in the next slice
  float weight;  // of the second
};

template <typename Read, typename Voxel>
FLUOROPOSE_HD void add_rows(const Voxel* values, const Extent* extents, const RowPair& pair, int na,
                            const SliceMap& map, int width, Scratch& scratch, float* sum, float* nearest,
                            float* lever) {
  const Extent voxels = join(extents[pair.number], extents[pair.next]);
  const Extent pixels = touched(voxels, map, width);
  if (pixels.last < pixels.first) return;
  if (!scratch.placed) place_columns(map, na, width + kPad, scratch.columns);
  scratch.placed = true;
  const Voxel* row0 = values + static_cast<std::ptrdiff_t>(pair.number) * na;
  const Voxel* row1 = values + static_cast<std::ptrdiff_t>(pair.next) * na;
  // The same row of the next slice, which is up next but for the rest of this band.
  fetch(values + static_cast<std::ptrdiff_t>(pair.ahead) * na, extents[pair.ahead]);
  blend(row0, row1, pair.weight, voxels, scratch.blended);
  if (lever) {
    Read::add_with_lever(scratch.blended, scratch.columns, pixels.first, pixels.last, sum, map.lever, lever);
  } else {
    Read::add(scratch.blended, scratch.columns, pixels.first, pixels.last, sum);
  }
  if (nearest) {
    const Voxel* near = pair.weight < 0.5f ? row0 : row1;
    if constexpr (std::is_same_v<Voxel, float>) {
      Read::keep_nearest(near, scratch.columns, pixels.first, pixels.last, nearest);
    } else {
      blend(near, near, 0.0f, voxels, scratch.blended);
      Read::keep_nearest(scratch.blended, scratch.columns, pixels.first, pixels.last, nearest);
    }
  }
}

template <typename Read, typename Voxel>
FLUOROPOSE_HD void add_slice(const Slabs<Voxel>& slabs, const SliceMap& map, int width, int k, int j0, int j1,
                             const ShearSums& sums, Scratch& scratch) {
  const SliceStrides& s = slabs.strides;
  scratch.placed = false;
  for (int j = j0; j < j1; ++j) {
    const float b = map.b + static_cast<float>(j) * map.db;
    if (!(b >= 0.0f && b < static_cast<float>(s.nb - 1))) continue;
    const int ib = static_cast<int>(b), number = ib + k * s.nb;
    const RowPair pair{number, number + 1, number + 1 + s.nb, b - static_cast<float>(ib)};
    const std::ptrdiff_t to = static_cast<std::ptrdiff_t>(j) * sums.stride;
    add_rows<Read>(slabs.mu.data(), slabs.mu_extents.data(), pair, s.na, map, width, scratch, sums.line + to, nullptr,
                   sums.lever ? sums.lever + to : nullptr);
    if (!sums.bone) continue;
    add_rows<Read>(slabs.bone.data(), slabs.bone_extents.data(), pair, s.na, map, width, scratch, sums.bone + to,
                   sums.nearest_bone + to, nullptr);
  }
}

template <int kLanes, typename Voxel>
FLUOROPOSE_HD void add_slices(const Slabs<Voxel>& slabs, const SliceMap* maps, int width, int j0, int j1,
                              const ShearSums& sums, float* memory) {
  Scratch scratch = divide(memory, width);
  for (int k = 1; k < slabs.strides.nk - 1; ++k) {
    const Columns step{nullptr, nullptr, maps[k].da};
    if (Reader<kLanes>::fits(step)) {
      add_slice<Reader<kLanes>>(slabs, maps[k], width, k, j0, j1, sums, scratch);
    } else {
      add_slice<Reader<1>>(slabs, maps[k], width, k, j0, j1, sums, scratch);
    }
  }
}

template <typename Voxel>
void baseline(const Slabs<Voxel>& slabs, const SliceMap* maps, int width, int j0, int j1, const ShearSums& sums,
              float* memory) {
  add_slices<1>(slabs, maps, width, j0, j1, sums, memory);
}

#if FLUOROPOSE_X86_LEVELS
template <typename Voxel>
FLUOROPOSE_TARGET_V3 void v3(const Slabs<Voxel>& slabs, const SliceMap* maps, int width, int j0, int j1,
                             const ShearSums& sums, float* memory) {
  add_slices<8>(slabs, maps, width, j0, j1, sums, memory);
}

template <typename Voxel>
FLUOROPOSE_TARGET_V4 void v4(const Slabs<Voxel>& slabs, const SliceMap* maps, int width, int j0, int j1,
                             const ShearSums& sums, float* memory) {
  add_slices<16>(slabs, maps, width, j0, j1, sums, memory);
}
#endif

}  // namespace

std::size_t shear_scratch_size(int row_length, int width) {
  return static_cast<std::size_t>(2 * (width + kPad) + row_length + kTail);
}

template <typename Voxel>
void shear_rows(const Slabs<Voxel>& slabs, const SliceMap* maps, int width, int j0, int j1, const ShearSums& sums,
                float* scratch, [[maybe_unused]] CpuLevel level) {
#if FLUOROPOSE_X86_LEVELS
  if (level == CpuLevel::kV4) return v4(slabs, maps, width, j0, j1, sums, scratch);
  if (level == CpuLevel::kV3) return v3(slabs, maps, width, j0, j1, sums, scratch);
#endif
  baseline(slabs, maps, width, j0, j1, sums, scratch);
}

template void shear_rows(const Slabs<float>&, const SliceMap*, int, int, int, const ShearSums&, float*, CpuLevel);
template void shear_rows(const Slabs<std::int16_t>&, const SliceMap*, int, int, int, const ShearSums&, float*,
                         CpuLevel);

}  // namespace fluoropose
