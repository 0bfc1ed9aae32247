// How recorded pixels differ from the pixels of an ideal flat image plane.
#pragma once

#include <type_traits>
#include <utility>

#include "fluoropose/distortion/polynomial.h"

namespace fluoropose {

// ideal_from_recorded is the model. recorded_from_ideal is its inverse: the polynomial fitted in that direction gives a
// start that Newton steps polish, so that the two directions agree to rounding error.
class Distortion {
 public:
  // Throws std::invalid_argument when a polynomial is not valid.
  Distortion(PlanePolynomial ideal_from_recorded, PlanePolynomial recorded_from_ideal)
      : forward_(std::move(ideal_from_recorded)), backward_(std::move(recorded_from_ideal)) {
    validate(forward_);
    validate(backward_);
  }

  const PlanePolynomial& forward() const { return forward_; }
  const PlanePolynomial& backward() const { return backward_; }

  template <typename T>
  Vec2<T> ideal_from_recorded(const Vec2<T>& px) const {
    return forward_(px);
  }

  // NaN where Newton's method does not find the inverse (far outside, where the model may fold).
  template <typename T>
  Vec2<T> recorded_from_ideal(const Vec2<T>& px) const {
    const Inverse inverse = invert({number(px.x), number(px.y)});
    // One more Newton step, taken in T, carries the derivatives (implicit function theorem).
    const T miss_u = px.x - T(inverse.ideal.x), miss_v = px.y - T(inverse.ideal.y);
    return {T(inverse.recorded.x) + T(inverse.j[0]) * miss_u + T(inverse.j[1]) * miss_v,
            T(inverse.recorded.y) + T(inverse.j[2]) * miss_u + T(inverse.j[3]) * miss_v};
  }

 private:
  struct Inverse {
    Vec2<double> recorded, ideal;  // ideal == forward_(recorded)
    double j[4];                   // d recorded / d ideal, row-major
  };

  Inverse invert(const Vec2<double>& ideal_px) const;

  template <typename T>
  static double number(const T& x) {
    if constexpr (std::is_arithmetic_v<T>) {
      return static_cast<double>(x);
    } else {
      return x.a;
    }
  }

  PlanePolynomial forward_, backward_;
};

}  // namespace fluoropose
