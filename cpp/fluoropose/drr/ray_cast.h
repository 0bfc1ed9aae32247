// Joseph's method (P. M. Joseph, IEEE Trans. Med. Imaging 1982): one bilinear sample in every slice across the axis
// that the ray follows most closely, times the length of ray between two slices. Bodies for CPU and CUDA.
#pragma once

#include "fluoropose/core/vec.h"
#include "fluoropose/geometry/view.h"
#include "fluoropose/volume/grid.h"

namespace fluoropose {

// A view seen from the grid: positions in voxel indices, and what turns a step of one voxel into mm.
struct VoxelView {
  Vec3<double> origin, u_step, v_step;  // voxel: pixel (0, 0) and the steps to the next pixels
  Vec3<double> source;                  // voxel: the source (point beam) or a direction (parallel beam)
  Vec3<double> spacing;                 // mm per voxel along the grid's orthogonal axes
  bool parallel;
};

// The samples of one ray: in slice k + i dk, i = 0 .. count - 1, at (a + i da, b + i db) voxels.
struct JosephRay {
  float a, b, da, db;
  int k, dk, count;
  int axis;       // of k: 0 x, 1 y, 2 z; a and b are the other two in order
  float step_mm;  // ray length between two slices
};

// How a grid is walked in slices across one axis.
struct SliceStrides {
  int a, b, k;     // elements
  int na, nb, nk;  // voxels, rim included
};

FLUOROPOSE_HD SliceStrides slice_strides(const GridView& grid, int axis) {
  const int row = grid.nx, plane = grid.nx * grid.ny;
  if (axis == 0) return {row, plane, 1, grid.ny, grid.nz, grid.nx};
  if (axis == 1) return {1, plane, row, grid.nx, grid.nz, grid.ny};
  return {1, row, plane, grid.nx, grid.ny, grid.nz};
}

// Narrows [t0, t1] to where origin + t direction lies in [low, high].
FLUOROPOSE_HD void clip_ray(double origin, double direction, double low, double high, double& t0, double& t1) {
  if (direction == 0.0) {
    if (origin < low || origin > high) t1 = t0 - 1.0;
    return;
  }
  const double inverse = 1.0 / direction;
  const double s = (low - origin) * inverse, e = (high - origin) * inverse;
  t0 = fmax(t0, fmin(s, e));
  t1 = fmin(t1, fmax(s, e));
}

// The ray of pixel (u, v): from the source through the pixel and on, or the whole line for a parallel beam.
FLUOROPOSE_HD JosephRay joseph_ray(const GridView& grid, const VoxelView& view, int u, int v) {
  const Vec3<double> pixel = view.origin + view.u_step * u + view.v_step * v;
  const Vec3<double> o = view.parallel ? pixel : view.source;
  const Vec3<double> d = view.parallel ? view.source : pixel - view.source;
  const double ax = fabs(d.x), ay = fabs(d.y), az = fabs(d.z);
  const int axis = ax > ay ? (ax > az ? 0 : 2) : (ay > az ? 1 : 2);
  const SliceStrides s = slice_strides(grid, axis);

  const double ok = axis == 0 ? o.x : axis == 1 ? o.y : o.z, dk = axis == 0 ? d.x : axis == 1 ? d.y : d.z;
  const double oa = axis == 0 ? o.y : o.x, da = axis == 0 ? d.y : d.x;
  const double ob = axis == 2 ? o.y : o.z, db = axis == 2 ? d.y : d.z;
  JosephRay ray{};
  ray.axis = axis;
  // Slices along the ray in units of t = (k - ok) / dk; only what lies before the source counts for a point beam.
  double t0 = view.parallel ? -1e300 : 0.0, t1 = 1e300;
  clip_ray(ok, dk, 1.0, s.nk - 2.0, t0, t1);
  clip_ray(oa, da, 0.0, s.na - 1.0, t0, t1);
  clip_ray(ob, db, 0.0, s.nb - 1.0, t0, t1);
  if (!(t0 <= t1)) return ray;
  const double enter = ok + t0 * dk, leave = ok + t1 * dk;
  const int first = static_cast<int>(dk > 0 ? ceil(enter - 1e-9) : floor(enter + 1e-9));
  const int last = static_cast<int>(dk > 0 ? floor(leave + 1e-9) : ceil(leave - 1e-9));
  ray.dk = dk > 0 ? 1 : -1;
  ray.k = first;
  ray.count = (last - first) * ray.dk + 1;
  if (ray.count < 0) ray.count = 0;
  const double t = (first - ok) / dk, dt = ray.dk / dk;
  ray.a = static_cast<float>(oa + t * da);
  ray.b = static_cast<float>(ob + t * db);
  ray.da = static_cast<float>(dt * da);
  ray.db = static_cast<float>(dt * db);
  const Vec3<double> step{d.x * dt * view.spacing.x, d.y * dt * view.spacing.y, d.z * dt * view.spacing.z};
  ray.step_mm = static_cast<float>(norm(step));
  return ray;
}

// Where a sample falls: the element before it, and how far towards the next in a and in b. Positions beyond the grid
// move onto the rim, which is zero.
struct Tap {
  int index;
  float wa, wb;
};

FLUOROPOSE_HD float clamp(float x, float high) { return x < 0.0f ? 0.0f : (x > high ? high : x); }

FLUOROPOSE_HD Tap joseph_tap(const SliceStrides& s, float a, float b, int k) {
  a = clamp(a, static_cast<float>(s.na - 1));
  b = clamp(b, static_cast<float>(s.nb - 1));
  const int kc = k < 0 ? 0 : (k > s.nk - 1 ? s.nk - 1 : k);
  int ia = static_cast<int>(a), ib = static_cast<int>(b);
  ia = ia < s.na - 2 ? ia : s.na - 2;
  ib = ib < s.nb - 2 ? ib : s.nb - 2;
  return {ia * s.a + ib * s.b + kc * s.k, a - static_cast<float>(ia), b - static_cast<float>(ib)};
}

FLUOROPOSE_HD float bilinear(const float* p, const SliceStrides& s, const Tap& t) {
  const float* q = p + t.index;
  const float low = q[0] + t.wa * (q[s.a] - q[0]);
  const float high = q[s.b] + t.wa * (q[s.a + s.b] - q[s.b]);
  return low + t.wb * (high - low);
}

FLUOROPOSE_HD float nearest(const float* p, const SliceStrides& s, const Tap& t) {
  return p[t.index + (t.wa >= 0.5f ? s.a : 0) + (t.wb >= 0.5f ? s.b : 0)];
}

}  // namespace fluoropose
