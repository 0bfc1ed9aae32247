#include "fluoropose/drr/packet_rays.h"

#include <algorithm>
#include <cmath>

namespace fluoropose {
namespace {

// Of each pixel's ray: a point on it, its direction, and 2 axis + (1 if it goes up that axis).
struct Rays {
  double from[3][kPacketRays], along[3][kPacketRays];
  int course[kPacketRays];
};

Rays rays_of(const VoxelView& view, int u, int v) {
  Rays rays;
  for (int l = 0; l < kPacketRays; ++l) {
    const double x = u + l % kPacketSide, y = v + l / kPacketSide;
    const Vec3<double> d = view.direction(x, y), o = view.parallel ? view.pixel(x, y) : view.source;
    for (int side = 0; side < 3; ++side)
      rays.from[side][l] = component(o, side), rays.along[side][l] = component(d, side);
    const int axis = dominant_axis(d);
    rays.course[l] = 2 * axis + (component(d, axis) > 0);
  }
  return rays;
}

// A packet's rays along one side of the slices: at + k slope in slice k.
struct Lines {
  double at[kPacketRays], slope[kPacketRays];
};

Lines lines_along(const Rays& rays, int axis, int side) {
  Lines lines;
#pragma omp simd
  for (int l = 0; l < kPacketRays; ++l) {
    lines.slope[l] = rays.along[side][l] / rays.along[axis][l];
    lines.at[l] = rays.from[side][l] - rays.from[axis][l] * lines.slope[l];
  }
  return lines;
}

Band band_of(const Lines& lines, const RayPacket& p) {
  float low[2], high[2];
  for (int i = 0; i < 2; ++i) {
    const double k = i == 0 ? p.begin : p.end - 1;
    float least = 1e9f, greatest = -1e9f;
#pragma omp simd reduction(min : least) reduction(max : greatest)
    for (int l = 0; l < kPacketRays; ++l) {
      const float x = static_cast<float>(lines.at[l] + k * lines.slope[l]);
      const float from = p.counts[l] ? x : 1e9f, to = p.counts[l] ? x : -1e9f;
      least = from < least ? from : least;
      greatest = to > greatest ? to : greatest;
    }
    low[i] = least, high[i] = greatest;
  }
  return band_between(low, high, p.end - p.begin);
}

void find_bands(const Lines& a, const Lines& b, RayPacket& p) { p.along_a = band_of(a, p), p.along_b = band_of(b, p); }

// Narrows [begin, end) to the slices in which a band, whose low is that of slice first, meets n voxels; perhaps one
// more at either end.
void clip(const Band& band, int n, int first, int& begin, int& end) {
  const double enter = -band.width - 1.0, leave = n;
  if (band.slope == 0.0f) {
    if (band.low < enter || band.low > leave) end = begin;
    return;
  }
  double low = (enter - band.low) / band.slope, high = (leave - band.low) / band.slope;
  if (low > high) std::swap(low, high);
  const double least = begin, most = end;
  begin = static_cast<int>(std::clamp(std::floor(first + low), least, most));
  end = static_cast<int>(std::clamp(std::ceil(first + high) + 1, least, most));
}

// Whether anything is near a packet's rays in kBrick slices from k on. Per slice a ray moves by at most one voxel,
// since it follows the axis most closely: by 3.5 to either side of the middle of such a piece. The square of rays is
// tried in spots so close that no ray is further than six voxels from one; what a brick tells reaches seven voxels and
// more.
class Seen {
 public:
  Seen(const Bricks& bricks, const RayPacket& p)
      : bricks_(bricks), p_(p), spots_a_(spots(p.along_a)), spots_b_(spots(p.along_b)) {}

  // With many spots it is cheaper to sum air.
  bool worth_while() const { return spots_a_ * spots_b_ <= 2 * kPacketRays; }
  bool anything(int k) const {
    const float middle = static_cast<float>(k) + 0.5f * (kBrick - 1), i = middle - static_cast<float>(p_.begin);
    for (int ja = 0; ja < spots_a_; ++ja) {
      const float a = spot(p_.along_a, i, ja, spots_a_);
      for (int jb = 0; jb < spots_b_; ++jb) {
        if (busy(middle, a, spot(p_.along_b, i, jb, spots_b_))) return true;
      }
    }
    return false;
  }

 private:
  static int spots(const Band& band) {
    const float apart = 12.0f - (kBrick - 1) * std::fabs(band.slope);
    return static_cast<int>(std::min(band.width / apart, 100.0f)) + 1;
  }
  static float spot(const Band& band, float i, int j, int count) {
    return band.low + i * band.slope + band.width * (static_cast<float>(j) + 0.5f) / static_cast<float>(count);
  }
  // A spot beyond the grid is moved to the grid's nearest brick: that brings it nearer to all that is in the grid.
  bool busy(float k, float a, float b) const {
    const auto inside = [](float x, int bricks) { return clamp(x, static_cast<float>(bricks * kBrick - 1)); };
    const Vec3<float> at = p_.axis == 0   ? Vec3<float>{k, a, b}
                           : p_.axis == 1 ? Vec3<float>{a, k, b}
                                          : Vec3<float>{a, b, k};
    return bricks_.busy_near(inside(at.x, bricks_.size.x), inside(at.y, bricks_.size.y), inside(at.z, bricks_.size.z));
  }

  const Bricks& bricks_;
  const RayPacket& p_;
  int spots_a_, spots_b_;
};

// Cuts the air before the first and behind the last thing that the rays may meet.
void trim(const Bricks& bricks, const RayPacket& p, int& begin, int& end) {
  const Seen seen(bricks, p);
  if (!seen.worth_while()) return;
  while (begin + kBrick < end && !seen.anything(begin)) begin += kBrick;
  while (end - kBrick > begin && !seen.anything(end - kBrick)) end -= kBrick;
  if (end - begin <= kBrick && !seen.anything(begin)) end = begin;
}

// The slices of the grid that a source is before, and what of them the rays may meet.
void find_slices(const Vec3<int>& size, const Bricks& bricks, bool parallel, double source, bool up, const Lines& a,
                 const Lines& b, RayPacket& p) {
  const int slices = component(size, p.axis);
  p.begin = 0, p.end = slices;
  if (!parallel && up) p.begin = static_cast<int>(std::clamp(std::ceil(source), 0.0, 1.0 * slices));
  if (!parallel && !up) p.end = static_cast<int>(std::clamp(std::floor(source) + 1.0, 0.0, 1.0 * slices));
  if (p.begin >= p.end) return;
  find_bands(a, b, p);
  int begin = p.begin, end = p.end;
  clip(p.along_a, component(size, first_axis(p.axis)), p.begin, begin, end);
  clip(p.along_b, component(size, second_axis(p.axis)), p.begin, begin, end);
  if (begin < end) trim(bricks, p, begin, end);
  p.begin = begin, p.end = end;
}

// Rays that do not count go where one that does goes: what they read is there, and is left out of the sums.
void place(const Lines& a, const Lines& b, RayPacket& p) {
  const int some =
      static_cast<int>(std::find_if(p.counts, p.counts + kPacketRays, [](int c) { return c != 0; }) - p.counts);
  for (int l = 0; l < kPacketRays; ++l) {
    const int from = p.counts[l] ? l : some;
    p.a[l] = static_cast<float>(a.at[from] + p.begin * a.slope[from]);
    p.b[l] = static_cast<float>(b.at[from] + p.begin * b.slope[from]);
    p.da[l] = static_cast<float>(a.slope[from]);
    p.db[l] = static_cast<float>(b.slope[from]);
  }
}

void measure_steps(const VoxelView& view, const Lines& a, const Lines& b, RayPacket& p) {
  const double k_mm = component(view.spacing, p.axis), a_mm = component(view.spacing, first_axis(p.axis)),
               b_mm = component(view.spacing, second_axis(p.axis));
  for (int l = 0; l < kPacketRays; ++l) {
    const double x = a.slope[l] * a_mm, y = b.slope[l] * b_mm;
    p.step_mm[l] = static_cast<float>(std::sqrt(x * x + y * y + k_mm * k_mm) * view.unit_per_mm);
  }
}

}  // namespace

void add_packets(const Vec3<int>& size, const Bricks& bricks, const VoxelView& view, int u, int v, Packets& packets) {
  const Rays rays = rays_of(view, u, v);
  int met = 0;
  bool on_image[kPacketRays];
  for (int l = 0; l < kPacketRays; ++l) {
    on_image[l] = u + l % kPacketSide < view.width && v + l / kPacketSide < view.height;
    if (on_image[l]) met |= 1 << rays.course[l];
  }
  for (int course = 0; course < 6; ++course) {
    if (!(met >> course & 1)) continue;
    const int axis = course / 2;
    RayPacket& p = packets[axis].emplace_back();
    p.u = u, p.v = v, p.axis = axis;
    for (int l = 0; l < kPacketRays; ++l) p.counts[l] = on_image[l] && rays.course[l] == course;
    const Lines a = lines_along(rays, axis, first_axis(axis)), b = lines_along(rays, axis, second_axis(axis));
    measure_steps(view, a, b, p);
    find_slices(size, bricks, view.parallel, component(view.source, axis), course % 2 == 1, a, b, p);
    if (p.begin >= p.end) continue;
    place(a, b, p);
    find_bands(a, b, p);
  }
}

}  // namespace fluoropose
