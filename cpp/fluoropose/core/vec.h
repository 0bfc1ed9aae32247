// Small plain-old-data vectors and matrices for kernel bodies; the host's linear algebra is Eigen's.
#pragma once

#include <cmath>

#include "fluoropose/core/macros.h"

namespace fluoropose {

template <typename T>
struct Vec2 {
  T x, y;
};

template <typename T>
struct Vec3 {
  T x, y, z;

  FLUOROPOSE_HD Vec3 operator+(const Vec3& b) const { return {x + b.x, y + b.y, z + b.z}; }
  FLUOROPOSE_HD Vec3 operator-(const Vec3& b) const { return {x - b.x, y - b.y, z - b.z}; }
  FLUOROPOSE_HD Vec3 operator*(T s) const { return {x * s, y * s, z * s}; }
  template <typename U>
  FLUOROPOSE_HD Vec3<U> cast() const {
    return {static_cast<U>(x), static_cast<U>(y), static_cast<U>(z)};
  }
};

template <typename T>
FLUOROPOSE_HD T dot(const Vec3<T>& a, const Vec3<T>& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}

template <typename T>
FLUOROPOSE_HD Vec3<T> cross(const Vec3<T>& a, const Vec3<T>& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

template <typename T>
FLUOROPOSE_HD T norm(const Vec3<T>& a) {
  return std::sqrt(dot(a, a));
}

template <typename T>
FLUOROPOSE_HD T component(const Vec3<T>& p, int axis) {
  return axis == 0 ? p.x : axis == 1 ? p.y : p.z;
}

// Affine map x -> A x + b, rows of A in order. Also used for rigid transforms inside kernels.
template <typename T>
struct Affine3 {
  Vec3<T> row0, row1, row2;
  Vec3<T> offset;

  FLUOROPOSE_HD Vec3<T> linear(const Vec3<T>& v) const { return {dot(row0, v), dot(row1, v), dot(row2, v)}; }
  FLUOROPOSE_HD Vec3<T> operator()(const Vec3<T>& p) const { return linear(p) + offset; }
};

// The upper rows of a (4, 4) matrix that lies row by row.
template <typename T>
FLUOROPOSE_HD Affine3<T> affine_of(const T* m) {
  return {{m[0], m[1], m[2]}, {m[4], m[5], m[6]}, {m[8], m[9], m[10]}, {m[3], m[7], m[11]}};
}

}  // namespace fluoropose
