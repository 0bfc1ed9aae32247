// A smooth map of the image plane as a bivariate polynomial (Zhou et al. 2021, section 2.4).
//
// Coordinates are scaled to the unit disc that encloses the fitted points, and the terms are products of Chebyshev
// polynomials T_i(x) T_j(y) with i + j <= order, so that high orders stay well conditioned. A polynomial explodes
// outside the points it was fitted to: beyond the disc it is continued linearly along the radius, with value and first
// derivatives continuous on the rim.
#pragma once

#include <array>
#include <cmath>
#include <vector>

#include "fluoropose/core/vec.h"

namespace fluoropose {

constexpr int kMaxPolynomialOrder = 15;

constexpr int polynomial_terms(int order) { return (order + 1) * (order + 2) / 2; }

// Maps pixels to pixels. NaN goes to NaN.
struct PlanePolynomial {
  int order;
  Vec2<double> centre;       // px: of the disc that encloses the fitted points
  double radius;             // px
  std::vector<double> u, v;  // px: coefficients of T_i(x) T_j(y), sorted by i, then by j

  // T is float, double or ceres::Jet.
  template <typename T>
  Vec2<T> operator()(const Vec2<T>& px) const {
    using std::sqrt;
    const T scale = T(1.0 / radius);
    const Vec2<T> p{(px.x - T(centre.x)) * scale, (px.y - T(centre.y)) * scale};
    const T rho2 = p.x * p.x + p.y * p.y;
    if (!(rho2 > T(1.0))) return expand(p, {T(0.0), T(0.0)});
    const T shrink = T(1.0) / sqrt(rho2);
    const Vec2<T> rim{p.x * shrink, p.y * shrink};
    return expand(rim, {p.x - rim.x, p.y - rim.y});
  }

 private:
  template <typename T>
  struct Terms {
    std::array<T, kMaxPolynomialOrder + 1> value, slope;
  };

  template <typename T>
  Terms<T> chebyshev(const T& x) const {
    Terms<T> t;
    t.value[0] = T(1.0);
    t.slope[0] = T(0.0);
    if (order == 0) return t;
    t.value[1] = x;
    t.slope[1] = T(1.0);
    for (int n = 2; n <= order; ++n) {
      t.value[n] = T(2.0) * x * t.value[n - 1] - t.value[n - 2];
      t.slope[n] = T(2.0) * (t.value[n - 1] + x * t.slope[n - 1]) - t.slope[n - 2];
    }
    return t;
  }

  // The value at p plus the derivative there times step; both in disc radii.
  template <typename T>
  Vec2<T> expand(const Vec2<T>& p, const Vec2<T>& step) const {
    const Terms<T> x = chebyshev(p.x), y = chebyshev(p.y);
    Vec2<T> sum{T(0.0), T(0.0)};
    int k = 0;
    for (int i = 0; i <= order; ++i) {
      const T along = x.value[i] + x.slope[i] * step.x, across = x.value[i] * step.y;
      for (int j = 0; j <= order - i; ++j, ++k) {
        const T term = along * y.value[j] + across * y.slope[j];
        sum.x += T(u[k]) * term;
        sum.y += T(v[k]) * term;
      }
    }
    return sum;
  }
};

// Throws std::invalid_argument, naming the field, unless the order lies in 1..kMaxPolynomialOrder, the disc is finite
// with a positive radius, and there are polynomial_terms(order) finite coefficients for each coordinate.
void validate(const PlanePolynomial& polynomial);

}  // namespace fluoropose
